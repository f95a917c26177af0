"""Probes: what kubelet asks a container. The rule: Kubernetes' defaults, to the second."""

import http.client
import socket

from ..command import CommandFailed
from .fields import known

FIELDS = """
    exec failureThreshold httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
    timeoutSeconds
"""


class Probe:
    """A startup, readiness or liveness probe of a container in a pod."""

    def __init__(self, container, where: str, spec: dict):
        self.container, self.pod, self.spec = container, container.pod, known(where, spec, FIELDS)
        known(f"{where}.exec", spec.get("exec", {}), "command")
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
            if "exec" in self.spec:
                self.container.execute(self.spec["exec"]["command"], self.timeout)
                return None
            port = self.pod.port(self.spec["tcpSocket"]["port"])
            socket.create_connection((self.pod.ip, port), self.timeout).close()
        except (OSError, http.client.HTTPException, CommandFailed) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def ask_http(self, question: dict) -> str | None:
        port = self.pod.port(question["port"])
        connection = http.client.HTTPConnection(self.pod.ip, port, timeout=self.timeout)
        connection.request("GET", question.get("path", "/"))
        status = connection.getresponse().status
        connection.close()
        return None if 200 <= status < 400 else f"HTTP status {status}"
