"""Clients of the sample API. The rule: no client tries again. Each request is a connection of its
own through the service, and what comes of it is written down as it is."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass

CLIENTS = 4
PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 10


@dataclass
class Answer:
    """What came of one request. A `status` of 0 is no answer at all, and `body` says why."""

    when: float
    what: str
    key: str
    status: int
    body: str
    seconds: float


def value_of(key: str, when: str = "") -> str:
    """A value that shows its key, as those of the load job do."""
    return f"{when} my-value-{key}".lstrip()


class Api:
    """The sample API at one address and port."""

    def __init__(self, address: str, port: int = 80):
        self.address, self.port = address, port

    def store(self, key: str, value: str) -> Answer:
        """POST /items/"""
        body = json.dumps({"key": key, "value": value})
        return self.request("POST", "/items/", key, body)

    def fetch(self, key: str) -> Answer:
        """GET /items/KEY"""
        return self.request("GET", f"/items/{key}", key)

    def request(self, method: str, path: str, key: str, body: str | None = None) -> Answer:
        begin = time.monotonic()
        connection = http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            status, text = response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return Answer(time.monotonic(), method, key, status, text, time.monotonic() - begin)


class Load:
    """Clients that store and fetch keys all the time of a `with` block."""

    def __init__(self, api: Api, keys: list[str]):
        self.api, self.keys, self.answers = api, keys, []
        self.over = threading.Event()
        self.clients = [threading.Thread(target=self.work, args=[one]) for one in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for client in self.clients:
            client.start()
        return self

    def work(self, client: int) -> None:
        """Goes through keys of its own; reads one that is long stored, and one just stored."""
        own = self.keys[client::CLIENTS]
        for turn in itertools.count():
            key, older = own[turn % len(own)], own[(turn + len(own) // 2) % len(own)]
            self.answers.append(self.api.store(key, value_of(key, f"in turn {turn}")))
            self.answers.append(self.fetch(key))
            self.answers.append(self.fetch(older))
            if self.over.wait(PAUSE_SECONDS):
                return

    def fetch(self, key: str) -> Answer:
        """A value under a key must be one that was stored under this key."""
        answer = self.api.fetch(key)
        if answer.status == 200 and not json.loads(answer.body)["value"].endswith(value_of(key)):
            answer.status, answer.body = 0, f"the value of another key: {answer.body}"
        return answer

    def __exit__(self, *_) -> None:
        self.over.set()
        for client in self.clients:
            client.join()

    def failed(self) -> list[Answer]:
        """Answers that are neither a success nor a key that is not there."""
        return [one for one in self.answers if one.status not in (200, 404)]

    def summary(self) -> str:
        """How many answers of each kind."""
        kinds = Counter(f"{one.what} {one.status}" for one in self.answers)
        return ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
