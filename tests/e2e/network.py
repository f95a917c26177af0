"""The network of the test: a node with pods and services, and nothing outside.

The rule: a cluster has one family of addresses, IPv4 or IPv6, and nothing in it has an address of the
other one but for the loopback. Addresses are given once. A pod that comes back has the same name and
a new address, as it has in a cluster on any day that matters. The node is a router and every pod has
a cable to it, so all traffic goes through the node's rules for services, without the pitfalls of a
bridge.
"""

import ctypes
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from .command import run

CLONE_NEWNET = 0x4000_0000
# What a pod's way out is in IPv6, on every cable: a router has no other address that a neighbour asks for.
ROUTER = "fe80::1"
SYSCTLS = Path("/proc/sys/net")


@dataclass(frozen=True, eq=False)
class Family:
    """One kind of addresses. `switches` are what a host of it needs to have on or off."""

    name: str
    flag: str
    bits: int
    pods: str
    services: str
    restore: str
    router_switches: dict[str, int]
    host_switches: dict[str, int]


IPV4 = Family(
    name="IPv4",
    flag="-4",
    bits=32,
    pods="10.88.0.0/16",
    services="10.96.0.0/16",
    restore="iptables-restore",
    router_switches={"ipv4/ip_forward": 1},
    host_switches={"ipv6/conf/all/disable_ipv6": 1},
)
IPV6 = Family(
    name="IPv6",
    flag="-6",
    bits=128,
    pods="fd00:88::/112",
    services="fd00:96::/112",
    restore="ip6tables-restore",
    router_switches={"ipv6/conf/all/disable_ipv6": 0, "ipv6/conf/all/forwarding": 1},
    host_switches={"ipv6/conf/all/disable_ipv6": 0},
)


def enter() -> None:
    """Moves this process, and what it starts from now on, into a network in which there is nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    run("ip", "link", "set", "lo", "up")


class Network:
    """The network of one cluster. Whoever makes one moves into it, with what is started from then on."""

    def __init__(self, family: Family):
        self.family = family
        self.pod_addresses = addresses(family.pods)
        self.service_addresses = addresses(family.services)
        self.node = next(self.pod_addresses)
        # Nobody else has the addresses given here, so no host needs to ask first.
        self.at_once = " nodad" if family is IPV6 else ""
        enter()
        for name, value in family.router_switches.items():
            (SYSCTLS / name).write_text(str(value))
        self.ip(
            f"address add {self.node}/{family.bits} dev lo{self.at_once}",
            # Where the node's own packets to services are until they get the address of a pod.
            "link add services type veth peer name nowhere",
            "link set services up",
            "link set nowhere up",
            f"route add {family.services} dev services src {self.node}",
        )

    def ip(self, *commands: str, process: int | None = None) -> None:
        """Commands of `ip`, here or in the network of a process."""
        words = ["ip", self.family.flag, "-batch", "-"]
        run(*within(process), *words, input="\n".join(commands))

    def plug_in(self, process: int, address: str) -> str:
        """Lays a cable from the node to the network of a process. Returns the name of our end."""
        cable, bits, is_ipv6 = f"pod{process}", self.family.bits, self.family is IPV6
        for name, value in self.family.host_switches.items():
            run(*within(process), "sh", "-c", f"echo {value} >{SYSCTLS}/{name}")
        self.ip(
            f"link add {cable} type veth peer name eth0 netns {process}",
            f"link set {cable} up",
            *([f"address add {ROUTER}/64 dev {cable}{self.at_once}"] if is_ipv6 else []),
            f"route add {address}/{bits} dev {cable}",
        )
        self.ip(
            "link set lo up",
            f"address add {address}/{bits} dev eth0{self.at_once}",
            "link set eth0 up",
            *([] if is_ipv6 else [f"route add {self.node}/{bits} dev eth0"]),
            f"route add default via {ROUTER if is_ipv6 else self.node} dev eth0",
            process=process,
        )
        return cable

    def cut(self, cable: str, address: str) -> None:
        """Takes a cable away, so that whoever had this address falls silent."""
        self.ip(f"link delete {cable}", f"route add blackhole {address}")


def addresses(range_: str) -> Iterator[str]:
    """The addresses of a range, one after the other."""
    return map(str, ip_network(range_).hosts())


def within(process: int | None) -> list[str]:
    """The words before a command that is to run in the network of a process."""
    return [] if process is None else ["nsenter", f"--net=/proc/{process}/ns/net"]


def addresses_of(process: int) -> list[str]:
    """The addresses that the network of a process has, but for those that no other host can use."""
    said = json.loads(run(*within(process), "ip", "-json", "address"))
    found = [ip_address(one["local"]) for link in said for one in link["addr_info"]]
    return [str(one) for one in found if not one.is_loopback and not one.is_link_local]


def with_port(address: str, port: int) -> str:
    """`ADDRESS:PORT`, as URLs and iptables have it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
