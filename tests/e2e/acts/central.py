"""The application goes over from sidecars to proxies of their own, as the guide says, while clients
go on: no request fails, and every key stays where it is."""

from ..load import Load
from ..report import Act, check
from ..world import CENTRAL, World, file_of
from .keys import KEYS, store_anew
from .roll import check_ends


def play(world: World, act: Act) -> None:
    old = world.api_pods
    with Load(world.api, KEYS) as load:
        world.shell.run("central")
    act.say(f"answers: {load.summary()}")
    check(not load.failed(), f"{len(load.failed())} requests failed: {load.failed()[:3]}")
    lost = [answer for answer in load.answers if answer.status == 404]
    check(not lost, f"{len(lost)} keys were not found: {lost[:3]}")
    check(not any(pod.sidecars for pod in world.api_pods), "the application has sidecars still")
    check_ends(old, act)
    (proxy, *_) = world.cluster.workloads[CENTRAL].pods
    store_anew(world, act, file_of(proxy), "in central mode:")
    for line in world.shell.run("test").splitlines():
        act.say(line)
