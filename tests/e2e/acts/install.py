"""The guide's first commands, as they stand: images, chart, load.

Pods come in Kubernetes' order: the application never runs without its proxy.
"""

from datetime import datetime

from ..report import Act, check
from ..world import World


def play(world: World, act: Act) -> None:
    for line in world.shell.run("install").splitlines():
        act.say(line)
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
