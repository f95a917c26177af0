"""The network of the test: a node with pods and services, and nothing outside.

The rule: addresses are given once. A pod that comes back has the same name and a new address, as it
has in a cluster on any day that matters. The engine makes no network of its own: it would forget
connections that it takes for those of a pod that is gone.
"""

import ctypes
import itertools
import os
from pathlib import Path

from .command import run

NODE = "10.88.0.1"
BRIDGE = "pods"
SERVICES = "10.96.0.0/16"
CLONE_NEWNET = 0x4000_0000

pod_addresses = (f"10.88.1.{host}" for host in itertools.count(1))
service_addresses = (f"10.96.0.{host}" for host in itertools.count(1))


def enter() -> None:
    """Moves this process, and what it starts from now on, into a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    commands = [
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"address add {NODE}/16 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        # The node's own way to services: their addresses become those of pods on it.
        f"route add {SERVICES} dev {BRIDGE}",
    ]
    run("ip", "-batch", "-", input="\n".join(commands))


def plug_in(process: int, address: str) -> None:
    """Gives the network of a pod, which one of its processes stands for, a cable to the bridge."""
    cable = f"pod{process}"
    run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", process)
    run("ip", "link", "set", cable, "master", BRIDGE, "up")
    commands = [
        "link set lo up",
        f"address add {address}/16 dev eth0",
        "link set eth0 up",
        f"route add default via {NODE}",
    ]
    inside = ["nsenter", f"--net=/proc/{process}/ns/net"]
    run(*inside, "ip", "-batch", "-", input="\n".join(commands))
