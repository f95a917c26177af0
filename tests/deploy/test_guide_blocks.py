"""Every block of the guide's commands is run or rendered, each by its mark: "```sh MARK".

The rule: what needs a cluster is run in tests/e2e. What that cluster can't do is tried here: with a program that
stands for Docker, with the real proxy, and against the rendered objects, which must have all that a command names.
"""

import json
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from exposition import fetch, free_port, running
from objects import containers, of_kind
from rendering import complete, objects_of, run_helm
from test_guide import HELM as HELM_LINES
from tools import ROOT

TEXT = (ROOT / "docs/kubernetes.md").read_text()
BLOCKS = re.findall(r"^```sh ?([^\n]*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CHART = "examples/cache-api/chart"
# Run with its output in test_guide.py; run in tests/e2e; rendered in test_guide.py; and tried below.
RUN_HERE = {"e2e"}
RUN_IN_E2E = {"install", "test", "central", "scale", "back", "stop", "migrate", "redis", "remove"}
RENDERED = {"registry", "monitoring"}
TRIED_BELOW = {"push", "buildx", "forward", "try", "ask"}

# Stands for Docker: it knows the images that were built, and refuses what Docker or a registry would refuse.
DOCKER = '''#!{python}
import argparse, json, pathlib, re, sys
state = pathlib.Path({state!r})
known = json.loads(state.read_text()) if state.exists() else {{"images": {{}}, "pushed": {{}}, "builder": False}}
stages = re.findall(r"^FROM .* AS (.+)$", pathlib.Path("Dockerfile").read_text(), re.M)
words, parser = sys.argv[1:], argparse.ArgumentParser(allow_abbrev=False)
if words[0] in ("build", "tag", "push"):
    command, words = words[0], words[1:]
else:
    command, words = " ".join(words[:2]), words[2:]
if "build" in command.split():
    for flag in ("--target", "--tag"):
        parser.add_argument(flag, required=True)
    parser.add_argument("folder")
    if command != "build":
        parser.add_argument("--platform", default="")
        parser.add_argument("--push", action="store_true")
    given = parser.parse_args(words)
    platforms = getattr(given, "platform", "").split(",")
    assert given.target in stages and pathlib.Path(given.folder, "Dockerfile").exists(), given
    assert command == "build" or known["builder"], "the first builder has one platform only"
    known["images"][given.tag] = given.target
    if getattr(given, "push", False):
        known["pushed"][given.tag] = [given.target, platforms]
elif command == "buildx create":
    parser.add_argument("--use", action="store_true")
    known["builder"] = parser.parse_args(words).use
elif command == "tag":
    old, new = words
    known["images"][new] = known["images"][old]
elif command == "push":
    (image,) = words
    known["pushed"][image] = [known["images"][image], []]
else:
    sys.exit("docker: " + command + "?")
assert all("." in image.split("/")[0] for image in known["pushed"]), known["pushed"]
state.write_text(json.dumps(known))
'''


def test_every_block_is_run_or_rendered():
    marks = {mark for mark, _ in BLOCKS}
    assert marks == RUN_HERE | RUN_IN_E2E | RENDERED | TRIED_BELOW
    assert len(BLOCKS) == len(re.findall(r"^```sh", TEXT, re.MULTILINE))
    acts = "".join(path.read_text() for path in (ROOT / "tests/e2e").rglob("*.py"))
    run = set(re.findall(r'shell\.run\("(\w+)"', acts))
    assert run == RUN_IN_E2E
    for mark, text in BLOCKS:
        if mark in RENDERED:
            lines = text.replace("\\\n", "").splitlines()
            words = [re.sub(f"^helm (install|upgrade) cache-api {CHART} ", "", line) for line in lines]
            assert words and set(words) <= set(HELM_LINES), mark


def block(mark: str) -> str:
    """The one block with a mark."""
    (text,) = (text for each, text in BLOCKS if each == mark)
    return text


def installed(*flags: str) -> list[dict]:
    """The objects of the guide's example."""
    return objects_of(run_helm("helm4", "template", "cache-api", complete("cache-api"), *flags))


@pytest.mark.parametrize("mark", ["push", "buildx"])
def test_what_is_pushed_is_what_is_then_installed(mark, tmp_path):
    (tmp_path / "bin").mkdir()
    docker, state = tmp_path / "bin/docker", tmp_path / "state"
    docker.write_text(DOCKER.format(python=sys.executable, state=str(state)))
    docker.chmod(0o755)
    builds = [line for line in dict(reversed(BLOCKS))["install"].splitlines() if "docker build" in line]
    # The first block of the page, which "push" follows, builds what is pushed.
    commands = "\n".join([*(builds if mark == "push" else []), block(mark)])
    options = {"capture_output": True, "text": True, "timeout": 30, "cwd": ROOT}
    result = subprocess.run(["bash", "-eu", "-c", commands], env={"PATH": f"{docker.parent}:/usr/bin:/bin"}, **options)
    assert result.returncode == 0, result.stderr
    pushed = json.loads(state.read_text())["pushed"]
    flags = shlex.split(block("registry").replace("\\\n", ""))
    objects = installed(*(f"--set={flags[at + 1]}" for at, word in enumerate(flags) if word == "--set"))
    images = set(re.findall(r'"image": "([^"]*nuthatch[^"]*)"', json.dumps(objects)))
    assert images == set(pushed)
    for image, (target, platforms) in pushed.items():
        assert target == image.split("/")[-1].split(":")[0].removeprefix("nuthatch-")
        assert platforms == ([] if mark == "push" else ["linux/amd64", "linux/arm64"])


def forwards() -> list[list[str]]:
    """What the guide leads to its reader's machine: the object and the ports, one line for each."""
    lines = [shlex.split(text) for mark, text in BLOCKS if mark == "forward"]
    assert len(lines) == 2 and all(words[:2] == ["kubectl", "port-forward"] for words in lines)
    return [words[2:] for words in lines]


def test_a_port_is_led_to_what_is_there_and_listens():
    (service, (target, ports)), (deployment, (workload, port)) = (
        (place.split("/"), (place, ports)) for place, ports in forwards()
    )
    objects = installed()
    (found,) = (item for item in of_kind(objects, "Service") if item["metadata"]["name"] == service[1])
    (entry,) = (each for each in found["spec"]["ports"] if each["port"] == int(ports.split(":")[1]))
    (api,) = (item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == service[1])
    assert found["spec"]["selector"].items() <= api["spec"]["template"]["metadata"]["labels"].items(), target
    listening = {each["name"]: each for one in containers(api["spec"]["template"]) for each in one.get("ports", [])}
    assert entry["targetPort"] in listening
    # Of the same name are the pods with a sidecar; after "Central mode", the text names the Deployment.
    assert deployment == ["deployment", api["metadata"]["name"]], workload
    assert listening["admin"]["containerPort"] == int(port)
    (central,) = re.findall(r"the proxies are in `deployment/([-a-z]+)`", " ".join(TEXT.split()))
    objects = installed("--set=nuthatch.central.enabled=true")
    (proxies,) = (item for item in of_kind(objects, "Deployment") if item["metadata"]["name"] == central)
    (proxy,) = containers(proxies["spec"]["template"])
    assert int(port) in {each["containerPort"] for each in proxy["ports"]}


def test_what_is_asked_of_one_proxy_is_answered(nuthatch, tmp_path):
    """The real one, on another port, and with the servers of the example."""
    (_, port) = forwards()[1]
    admin, data = free_port(), free_port()
    servers = "memcached-cluster-0.memcached-cluster:11211:1,memcached-cluster-1.memcached-cluster:11211:1"
    variables = {"SERVERS": servers, "LISTEN_PORT": str(data)}
    commands = block("ask")
    assert commands.count(f"localhost:{port}/") == commands.count("curl ") == 2
    with running([nuthatch, f"--admin=127.0.0.1:{admin}", f"--stats-port={free_port()}"], variables, tmp_path) as proxy:
        fetch(f"http://127.0.0.1:{admin}/live", proxy)
        lines = commands.replace(f"localhost:{port}", f"127.0.0.1:{admin}").splitlines()
        answers = [
            subprocess.run(["bash", "-c", f"{line} --silent --show-error --fail"], capture_output=True, text=True, timeout=30)
            for line in lines
        ]
    assert [answer.stderr for answer in answers] == ["", ""]
    for answer in answers:
        assert "memcached-cluster-" in answer.stdout


def test_what_is_tried_with_the_application_is_there():
    commands = [shlex.split(line) for line in block("try").replace("\\\n", "").splitlines()]
    objects = installed()
    (_, ports) = forwards()[0]
    source = (ROOT / "examples/cache-api/src/api.rs").read_text()
    routes = {(method, path) for path, method in re.findall(r'\.route\("([^"]+)", (get|post)\(', source)}
    done = []
    for program, *words in commands:
        if program == "curl":
            (place,) = (word for word in words if word.startswith("localhost:"))
            where, path = place.split("/", 1)
            assert where == f"localhost:{ports.split(':')[0]}"
            method = words[words.index("--request") + 1].lower() if "--request" in words else "get"
            known = {re.sub(r"\{\w+\}", "[^/]+", path) for each, path in routes if each == method}
            assert any(re.fullmatch(each, f"/{path}") for each in known), place
            if method == "post":
                assert words[words.index("--header") + 1] == "content-type: application/json"
                assert set(json.loads(words[words.index("--data") + 1])) == {"key", "value"}
        elif words[:2] == ["delete", "pod"]:
            names = {
                f"{item['metadata']['name']}-{number}"
                for item in of_kind(objects, "StatefulSet")
                for number in range(item["spec"]["replicas"])
            }
            assert words[2:] and set(words[2:]) <= names
        else:
            action, place, flag, container = words
            assert (program, action, flag) == ("kubectl", "logs", "--container")
            kind, name = place.split("/")
            (found,) = (item for item in of_kind(objects, kind.title()) if item["metadata"]["name"] == name)
            assert container in {each["name"] for each in containers(found["spec"]["template"])}
        done.append(program)
    assert done == ["curl", "kubectl", "curl", "kubectl"]
