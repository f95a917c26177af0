"""What proxies say of themselves: figures at the admin port, events in the log.

The rule: several proxies are one here, their figures are summed.
"""

import http.client
import json
import re
from collections import Counter

from .kubelet.container import Container
from .report import check

SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def scrape(proxies: list[Container], name: str, **labels: str) -> list[tuple[dict, float]]:
    """All series of a metric that have these labels, of all proxies."""
    found = []
    for proxy in proxies:
        for metric, said, value in SERIES.findall(ask(proxy, "/metrics")):
            own = dict(re.findall(r'(\w+)="([^"]*)"', said))
            if metric == name and labels.items() <= own.items():
                found.append((own, float(value)))
    return found


def total(proxies: list[Container], name: str, **labels: str) -> int:
    """The sum of a metric."""
    return int(sum(value for _, value in scrape(proxies, name, **labels)))


def by_server(proxies: list[Container], name: str, **labels: str) -> dict[str, int]:
    """The sums of a metric for each server's pod."""
    sums = Counter()
    for own, value in scrape(proxies, name, **labels):
        sums[own["server"].split(".")[0]] += int(value)
    return dict(sums)


def ask(proxy: Container, path: str) -> str:
    """One path of the admin port."""
    connection = http.client.HTTPConnection(proxy.pod.ip, proxy.pod.port("admin"), timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    said = response.read().decode()
    connection.close()
    check(response.status == 200, f"{proxy.id} {path}: {response.status} {said}")
    return said


def events(proxies: list[Container], message: str) -> list[dict]:
    """The lines of the logs with this message. Every line must be JSON, as no terminal reads it."""
    lines = [json.loads(line) for proxy in proxies for line in proxy.logs().splitlines()]
    return [line for line in lines if line["message"] == message]
