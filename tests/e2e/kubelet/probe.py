"""Probes: what kubelet asks a container. The rule: Kubernetes' defaults, to the second."""

import http.client
import socket

from .fields import known

FIELDS = """
    failureThreshold httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
    timeoutSeconds
"""


class Probe:
    """A startup, readiness or liveness probe of a container in a pod."""

    def __init__(self, pod, where: str, spec: dict):
        self.pod, self.spec = pod, known(where, spec, FIELDS)
        known(f"{where}.httpGet", spec.get("httpGet", {}), "path port")
        known(f"{where}.tcpSocket", spec.get("tcpSocket", {}), "port")
        self.delay = spec.get("initialDelaySeconds", 0)
        self.period = spec.get("periodSeconds", 10)
        self.timeout = spec.get("timeoutSeconds", 1)
        self.failures_max = spec.get("failureThreshold", 3)
        self.successes_min = spec.get("successThreshold", 1)

    def refusal(self) -> str | None:
        """Asks once. None is a success, else what was wrong."""
        try:
            if "httpGet" in self.spec:
                return self.ask_http(self.spec["httpGet"])
            port = self.pod.port(self.spec["tcpSocket"]["port"])
            socket.create_connection((self.pod.ip, port), self.timeout).close()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def ask_http(self, question: dict) -> str | None:
        port = self.pod.port(question["port"])
        connection = http.client.HTTPConnection(self.pod.ip, port, timeout=self.timeout)
        connection.request("GET", question.get("path", "/"))
        status = connection.getresponse().status
        connection.close()
        return None if 200 <= status < 400 else f"HTTP status {status}"
