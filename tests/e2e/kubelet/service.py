"""Services: stable names for pods that come and go.

The rule: a service is what kube-proxy makes of it in its iptables mode. A connection to a service's
address goes to one of its ready pods, chosen by chance, and stays there; a pod that ends leaves the
service a moment *after* it was told to end, as the news takes its time in a cluster. A headless
service is a name for each of its pods and no address.
"""

import threading

from ..command import run
from ..network import Network, with_port
from .dns import Dns

NEWS_SECONDS = 1.0
CHAIN = "E2E-SERVICES"


class Services:
    """All services of the cluster, and the one place that tells DNS and iptables of them."""

    def __init__(self, network: Network, dns: Dns):
        self.network, self.dns, self.services, self.addresses = network, dns, {}, {}
        self.pods = []
        self.lock = threading.RLock()
        all_services = network.family.services
        sent_on = [f"-A {hook} -d {all_services} -j {CHAIN}" for hook in ("PREROUTING", "OUTPUT")]
        # What was not sent on has no pod to go to.
        refused = [f"-A {hook} -d {all_services} -j REJECT" for hook in ("FORWARD", "OUTPUT")]
        self.restore("nat", [f":{CHAIN} - [0:0]", *sent_on])
        self.restore("filter", refused)

    def define(self, service: dict) -> None:
        """Takes a Service object, new or changed."""
        name = service["metadata"]["name"]
        with self.lock:
            self.services[name] = service["spec"]
            if service["spec"].get("clusterIP") != "None" and name not in self.addresses:
                self.addresses[name] = next(self.network.service_addresses)
            self.publish()

    def forget(self, name: str) -> None:
        """A Service object is deleted."""
        with self.lock:
            del self.services[name]
            self.addresses.pop(name, None)
            self.publish()

    def join(self, pod) -> None:
        """A pod has an address; it counts from the moment it is ready."""
        with self.lock:
            self.pods.append(pod)
            self.publish()

    def leave(self, pod) -> None:
        """A pod was told to end; connections go on coming until the news is everywhere."""
        threading.Timer(NEWS_SECONDS, self.drop, [pod]).start()

    def drop(self, pod) -> None:
        """A pod is gone."""
        with self.lock:
            if pod in self.pods:
                self.pods.remove(pod)
                self.publish()

    def endpoints(self, spec: dict) -> list:
        """The pods that a service sends connections to."""
        chosen = [pod for pod in self.pods if spec["selector"].items() <= pod.labels.items()]
        return [pod for pod in chosen if pod.ready or spec.get("publishNotReadyAddresses")]

    def publish(self) -> None:
        """Tells DNS and iptables what is true now."""
        with self.lock:
            names, rules = {}, []
            for name, spec in self.services.items():
                pods = self.endpoints(spec)
                if name in self.addresses:
                    names[name] = [self.addresses[name]]
                    rules += forward(self.addresses[name], spec["ports"], pods)
                else:
                    names[name] = [pod.ip for pod in pods]
                    names |= {f"{pod.name}.{name}": [pod.ip] for pod in pods}
            self.dns.publish(names)
            self.restore("nat", [f":{CHAIN} - [0:0]", *rules])

    def restore(self, table: str, rules: list[str]) -> None:
        """Adds rules, and empties the chains that are named first, all in one step."""
        lines = [f"*{table}", *rules, "COMMIT"]
        text = "".join(f"{line}\n" for line in lines)
        run(self.network.family.restore, "--noflush", input=text)


def forward(address: str, ports: list[dict], pods: list) -> list[str]:
    """The rules of one service: each pod gets its share of the new connections."""
    rules = []
    for port in ports:
        head = f"-A {CHAIN} -d {address} -p tcp --dport {port['port']}"
        for left, pod in zip(range(len(pods), 0, -1), pods):
            chance = f"-m statistic --mode random --probability {1 / left:.6f}"
            target = with_port(pod.ip, pod.port(port.get("targetPort", port["port"])))
            rules.append(f"{head} {chance} -j DNAT --to-destination {target}")
    return rules
