"""The network of the test: a node with pods and services, and nothing outside.

The rule: addresses are given once. A pod that comes back has the same name and a new address, as it
has in a cluster on any day that matters.
"""

import ctypes
import itertools

from .command import run
from .engine import Engine

NODE = "10.88.0.1"
SERVICES = "10.96.0.0/16"
BRIDGE = "pods"
CLONE_NEWNET = 0x4000_0000

pod_addresses = (f"10.88.1.{host}" for host in itertools.count(1))
service_addresses = (f"10.96.0.{host}" for host in itertools.count(1))


def enter() -> None:
    """Moves this process, and what it starts from now on, into a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of its own can be made")
    run("ip", "link", "set", "lo", "up")


def create(engine: Engine) -> None:
    """Makes the bridge that all pods are on, and a way for the node itself to services."""
    name = f"com.docker.network.bridge.name={BRIDGE}"
    subnet = ["--subnet", "10.88.0.0/16", "--gateway", NODE]
    engine.docker("network", "create", *subnet, "--opt", name, BRIDGE)
    run("ip", "route", "add", SERVICES, "dev", BRIDGE)
