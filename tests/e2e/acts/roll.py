"""The application is rolled while clients go on, and nobody notices."""

from datetime import UTC, datetime

from ..load import Load
from ..report import Act, check
from ..world import API, World
from .load_job import KEYS


def play(world: World, act: Act) -> None:
    old = world.api_pods
    with Load(world.api, KEYS) as load:
        restart(world)
    new = world.api_pods
    check(not set(old) & set(new), "a pod was not replaced")
    act.say(f"{', '.join(pod.name for pod in old)} -> {', '.join(pod.name for pod in new)}")
    act.say(f"answers: {load.summary()}")
    check(not load.failed(), f"{len(load.failed())} requests failed: {load.failed()[:3]}")
    check_ends(old, act)


def restart(world: World) -> None:
    """What `kubectl rollout restart` does: a new annotation on the pods."""
    objects = world.chart.objects()
    for one in objects:
        if (one["kind"], one["metadata"]["name"]) == API:
            notes = one["spec"]["template"]["metadata"].setdefault("annotations", {})
            notes["kubectl.kubernetes.io/restartedAt"] = datetime.now(UTC).isoformat()
    world.cluster.apply(objects)
    world.cluster.wait(API)


def check_ends(pods: list, act: Act) -> None:
    """Every container of a stopped pod ended by itself, with exit code 0, the sidecar last."""
    for pod in pods:
        check(not pod.troubles, f"{pod.name}: {pod.troubles}")
        for container in pod.containers:
            end = container.end
            good = end.code == 0 and not end.killed
            check(good, f"{container.id} ended with {end}; its log is {container.id}.log")
            act.say(f"{pod.name}/{container.name}: exit code {end.code} after {end.seconds:.2f} s")
