"""The network of the test: a node with pods and services, and nothing outside.

The rule: addresses are given once. A pod that comes back has the same name and a new address, as it
has in a cluster on any day that matters. The node is a router and every pod has a cable to it, so
all traffic goes through the node's rules for services, without the pitfalls of a bridge.
"""

import ctypes
import os
from ipaddress import ip_network
from pathlib import Path

from .command import run

SERVICES = "10.96.0.0/16"
CLONE_NEWNET = 0x4000_0000

pod_addresses = map(str, ip_network("10.88.0.0/16").hosts())
service_addresses = map(str, ip_network(SERVICES).hosts())
NODE = next(pod_addresses)


def enter() -> None:
    """Moves this process, and what it starts from now on, into a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    commands = [
        "link set lo up",
        f"address add {NODE}/32 dev lo",
        # Where the node's own packets to services are until they get the address of a pod.
        f"route add {SERVICES} dev lo src {NODE}",
    ]
    run("ip", "-batch", "-", input="\n".join(commands))


def plug_in(process: int, address: str) -> str:
    """Lays a cable from the node to the network of a process. Returns the name of our end."""
    cable = f"pod{process}"
    commands = [
        f"link add {cable} type veth peer name eth0 netns {process}",
        f"link set {cable} up",
        f"route add {address}/32 dev {cable}",
    ]
    run("ip", "-batch", "-", input="\n".join(commands))
    commands = [
        "link set lo up",
        f"address add {address}/32 dev eth0",
        "link set eth0 up",
        f"route add {NODE}/32 dev eth0",
        f"route add default via {NODE}",
    ]
    inside = ["nsenter", f"--net=/proc/{process}/ns/net"]
    run(*inside, "ip", "-batch", "-", input="\n".join(commands))
    return cable


def cut(cable: str, address: str) -> None:
    """Takes a cable away, so that whoever had this address falls silent."""
    run("ip", "link", "delete", cable)
    run("ip", "route", "add", "blackhole", address)
