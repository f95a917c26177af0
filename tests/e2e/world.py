"""What all acts share: the engine, the cluster, the chart, and where things are in them."""

from dataclasses import dataclass

from .engine import Engine
from .kubelet.cluster import Cluster
from .kubelet.container import Container
from .kubelet.pod import Pod
from .load import Api
from .predict import Oracle
from .shell import Shell

MEMCACHED = ("StatefulSet", "memcached-cluster")
API = ("Deployment", "cache-api")
CENTRAL = ("Deployment", "cache-api-nuthatch")
JOB = ("Job", "cache-load")
REDIS = ("StatefulSet", "redis-cache")


@dataclass
class World:
    """Handed from act to act."""

    engine: Engine
    cluster: Cluster
    shell: Shell
    oracle: Oracle
    images: dict[str, str]

    @property
    def servers(self) -> dict[str, str]:
        """The memcached pods: name and address."""
        return {pod.name: pod.ip for pod in self.cluster.workloads[MEMCACHED].pods}

    @property
    def api_pods(self) -> list[Pod]:
        """The pods of the application."""
        return list(self.cluster.workloads[API].pods)

    @property
    def api(self) -> Api:
        """The application, by its service."""
        return Api(self.cluster.services.addresses["cache-api"])

    @property
    def sidecars(self) -> list[Container]:
        """The proxies beside the application."""
        return [sidecar for pod in self.api_pods for sidecar in pod.sidecars]

    @property
    def sidecar_file(self) -> str:
        """The nutcracker.yml of such a proxy."""
        return file_of(self.api_pods[0])


def file_of(pod: Pod) -> str:
    """The nutcracker.yml that the proxy of a pod has now."""
    return (pod.volumes["nuthatch-config"] / "nutcracker.yml").read_text()
