"""As much of an API server as a chart's look-ups ask for: which kinds there are, and the objects given."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The kinds of the chart's objects, and what they are called in a path.
KINDS = {
    "v1": {"ConfigMap": "configmaps", "Pod": "pods", "Service": "services"},
    "apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}


@contextmanager
def api_server(
    objects: list[dict], namespace: str, folder: Path, release: str | None = "release"
) -> Iterator[Path]:
    """A kubeconfig for a server that has these objects in a namespace, those of a release or of nobody's."""
    there = {
        place(each, namespace): owned(each, namespace, release) if release else each
        for each in objects
    }
    answers = {**discovery(), **there}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(answers))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        path = folder / "kubeconfig"
        path.write_text(json.dumps(kubeconfig(server.server_port)))
        yield path
    finally:
        server.shutdown()
        server.server_close()


def place(item: dict, namespace: str) -> str:
    """The path of an object."""
    plural = KINDS[item["apiVersion"]][item["kind"]]
    root = "apis" if "/" in item["apiVersion"] else "api"
    return f"/{root}/{item['apiVersion']}/namespaces/{namespace}/{plural}/{item['metadata']['name']}"


def owned(item: dict, namespace: str, release: str) -> dict:
    """An object as Helm has installed it."""
    helm = "meta.helm.sh/release"
    own = {f"{helm}-name": release, f"{helm}-namespace": namespace}
    annotations = {**item["metadata"].get("annotations", {}), **own}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def discovery() -> dict[str, dict]:
    """What the server says of itself."""
    groups, answers = [], {}
    for version, kinds in KINDS.items():
        group, _, number = version.rpartition("/")
        named = {"groupVersion": version, "version": number}
        if group:
            groups.append({"name": group, "versions": [named], "preferredVersion": named})
        answers[f"/apis/{version}" if group else f"/api/{version}"] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": [resource(kind, plural) for kind, plural in kinds.items()],
        }
    return {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **answers,
    }


def resource(kind: str, plural: str) -> dict:
    """A kind of objects that are in namespaces."""
    verbs = ["get", "list"]
    return {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}


def handler(answers: dict[str, dict]) -> type[BaseHTTPRequestHandler]:
    """A handler that gives these answers, and else that there is nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            answer = answers.get(self.path.split("?")[0], missing)
            text = json.dumps(answer).encode()
            self.send_response(answer.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            """Nothing: the checks say what failed."""

    return Handler


def kubeconfig(port: int) -> dict:
    """How to reach a server on this port."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}],
    }
