"""Names, as a cluster's DNS has them: a dnsmasq for NAME.NAMESPACE.svc.cluster.local.

The rule: a pod is told what kubelet would tell it, a search list and `ndots:5`, so that a short
name such as `memcached-cluster-0.memcached-cluster` takes the same way here as there.
"""

import signal
import subprocess
from pathlib import Path

from ..network import Network

NAMESPACE = "default"
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
RESOLV_CONF = f"""\
search {DOMAIN} svc.cluster.local cluster.local
nameserver {{node}}
options ndots:5
"""
SETTINGS = """
    --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts
    --local=/cluster.local/ --local-ttl=5 --bind-interfaces
"""


class Dns:
    """A dnsmasq on the node's address; `publish` replaces all that it knows."""

    def __init__(self, network: Network, folder: Path):
        self.node, self.folder = network.node, folder
        self.hosts, self.resolv_conf = folder / "hosts", folder / "resolv.conf"
        self.process = None

    def __enter__(self) -> "Dns":
        self.folder.mkdir(parents=True)
        self.hosts.touch()
        self.resolv_conf.write_text(RESOLV_CONF.format(node=self.node))
        told = [f"--listen-address={self.node}", f"--addn-hosts={self.hosts}"]
        words = ["dnsmasq", *SETTINGS.split(), *told]
        with (self.folder / "dnsmasq.log").open("w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        return self

    def publish(self, names: dict[str, list[str]]) -> None:
        """Sets the addresses of every name."""
        lines = [f"{ip} {name}.{DOMAIN}\n" for name, ips in names.items() for ip in ips]
        self.hosts.write_text("".join(sorted(lines)))
        self.process.send_signal(signal.SIGHUP)

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)
