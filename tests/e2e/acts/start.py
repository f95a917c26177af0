"""The rendered example starts, and the application never runs without its proxy."""

from datetime import datetime

from ..report import Act, check
from ..world import API, MEMCACHED, World


def play(world: World, act: Act) -> None:
    # The load comes later: caches that are not there yet would cost it keys, as they should.
    world.chart.set("load.enabled", "false")
    world.cluster.apply(world.chart.objects())
    world.cluster.wait(MEMCACHED, API)
    for pod in world.api_pods:
        check(len(pod.sidecars) == 1, f"{pod.name} has {len(pod.sidecars)} native sidecars")
        (sidecar,) = pod.sidecars
        check(sidecar.startup is not None, f"{sidecar.id} has no startup probe")
        for container in pod.main:
            started = datetime.fromisoformat(container.state()["StartedAt"]).timestamp()
            later = started - sidecar.started_up
            check(later > 0, f"{container.id} started {-later:.3f} s before its sidecar was up")
            act.say(f"{container.name} started {later:.3f} s after the sidecar's startup probe")
    answer = world.api.fetch("nobody-stored-this")
    check(answer.status == 404, f"a key that is not there: {answer}")
    check("detail" in answer.body, f"a 404 without a JSON body: {answer}")
