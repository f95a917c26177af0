"""The application is rolled while clients go on, and nobody notices."""

from ..load import Load
from ..report import Act, check
from ..world import API, World
from .keys import KEYS


def play(world: World, act: Act) -> None:
    old = world.api_pods
    with Load(world.api, KEYS) as load:
        world.cluster.restart(API)
        world.cluster.wait(API)
    new = world.api_pods
    check(not set(old) & set(new), "a pod was not replaced")
    act.say(f"{', '.join(pod.name for pod in old)} -> {', '.join(pod.name for pod in new)}")
    act.say(f"answers: {load.summary()}")
    check(not load.failed(), f"{len(load.failed())} requests failed: {load.failed()[:3]}")
    check_ends(old, act)


def check_ends(pods: list, act: Act) -> None:
    """Every container of a stopped pod ended by itself, with exit code 0, the sidecar last."""
    for pod in pods:
        check(not pod.troubles, f"{pod.name}: {pod.troubles}")
        for container in pod.containers:
            end = container.end
            good = end.code == 0 and not end.killed
            check(good, f"{container.id} ended with {end}; its log is {container.id}.log")
            act.say(f"{pod.name}/{container.name}: exit code {end.code} after {end.seconds:.2f} s")
