"""The images are what they claim to be: small, nothing but the programs, and at home in a cluster
that trusts nobody."""

import json
import socket
import tarfile
import time
from pathlib import Path

from ..command import CommandFailed, run
from ..engine import Engine
from ..report import Act, check
from ..world import World

SIZE_MAX = 10_000_000
USER = "65532:65532"
LABELS = "org.opencontainers.image."
PROGRAMS = {"nuthatch": {"nuthatch"}, "nuthatch-cache-api": {"cache-api", "cache-load"}}
DRAIN_SECONDS_MAX = 5
HEALTHY_SECONDS_MAX = 15
ASK_FOR_IO_URING = Path(__file__).with_name("ask_for_io_uring.c")


def play(world: World, act: Act) -> None:
    for image, programs in PROGRAMS.items():
        check_contents(world.engine, world.images[image], programs, act)
    check_refusal(world)
    check_hardened(world, act)


def check_contents(engine: Engine, image: str, programs: set[str], act: Act) -> None:
    """Size, user, version, and every file of every layer."""
    (facts,) = json.loads(engine.docker("image", "inspect", image))
    check(facts["Size"] < SIZE_MAX, f"{image} has {facts['Size']} bytes")
    check(facts["Config"]["User"] == USER, f"{image} runs as {facts['Config']['User']!r}")
    check_labels(image, facts["Config"]["Labels"])
    archive = engine.scratch / "image.tar"
    engine.docker("save", "--output", archive, image)
    files = files_of(archive)
    check(files == programs, f"{image} has the files {files}")
    act.say(f"{image}: {facts['Size'] / 1e6:.1f} MB, user {USER}, only {', '.join(sorted(files))}")


def check_labels(image: str, labels: dict[str, str]) -> None:
    """What registries and scanners show of it."""
    said = {name.removeprefix(LABELS): value for name, value in labels.items()}
    described = said.pop("description", "")
    check(len(described) > 0, f"{image} has no description")
    name, version = image.split(":")
    right = {"title": name, "version": version, "licenses": "Apache-2.0"}
    check(said == right, f"{image} has the labels {said}, not {right}")


def files_of(archive: Path) -> set[str]:
    """The files of an image, taken from its layers."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(image.extractfile("manifest.json"))
        files = set()
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                files |= set(layer.getnames())
        return files


def check_refusal(world: World) -> None:
    """A container that was told nothing says what it must be told."""
    try:
        world.engine.docker("run", "--rm", "--network", "none", world.images["nuthatch"])
    except CommandFailed as failed:
        check("exit code 1" in str(failed) and "SERVERS" in str(failed), str(failed))
    else:
        check(False, "a container without SERVERS ended with exit code 0")


def check_hardened(world: World, act: Act) -> None:
    """Without network, capabilities, io_uring or a place to write: it serves, and ends as told."""
    folder = world.engine.scratch / "hardened"
    folder.mkdir()
    folder.chmod(0o777)
    question = compile_question(folder)
    hardening = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--memory", "32m"]
    # The image's own check, only sooner.
    hardening += ["--health-interval", "1s"]
    for option in ("no-new-privileges", f"seccomp={world.cluster.runtime_default}"):
        hardening += ["--security-opt", option]
    told = {"SERVERS": "127.0.0.1:1:1 nobody", "LISTEN_SOCKET": "/run/nuthatch/socket 0666"}
    variables = [f"--env={name}={value}" for name, value in told.items()]
    mount = f"--volume={folder}:/run/nuthatch"
    name = "hardened"
    engine = world.engine
    engine.docker(
        "run", "--detach", "--name", name, *hardening, *variables, mount, world.images["nuthatch"]
    )
    try:
        with connect(folder / "socket") as client:
            check(ask(client, b"stats\r\n").startswith(b"STAT "), "it does not serve")
            answer = ask(client, b"get key\r\n")
            check(answer.startswith(b"SERVER_ERROR "), f"nobody answered {answer!r}")
            said = engine.docker("exec", name, f"/run/nuthatch/{question.name}").strip()
            check(said == "refused", f"io_uring is {said} in the container")
            check_health(engine, name, act)
            check_end(engine, name, act)
            check(client.recv(1) == b"", "the idle client was not closed")
    finally:
        engine.docker("rm", "--force", name)


def check_health(engine: Engine, name: str, act: Act) -> None:
    """The image has a health check, and it says that the container is healthy."""
    begin = time.monotonic()
    while True:
        health = json.loads(engine.docker("inspect", "-f", "{{json .State.Health}}", name))
        if health and health["Status"] == "healthy":
            break
        check(time.monotonic() < begin + HEALTHY_SECONDS_MAX, f"its health: {health}")
        time.sleep(0.2)
    act.say(f"healthy: {health['Log'][-1]['Output'].strip()}")


def check_end(engine: Engine, name: str, act: Act) -> None:
    """SIGTERM reaches process 1, which ends in time with exit code 0."""
    asked = time.monotonic()
    engine.docker("kill", "--signal", "TERM", name)
    code = engine.docker("wait", name, timeout=DRAIN_SECONDS_MAX + 1).strip()
    check(code == "0", f"exit code {code}\n{engine.docker('logs', name)}")
    act.say(
        "read-only, no capability, no network, io_uring refused: it serves;"
        f" SIGTERM as process 1: exit code 0 after {time.monotonic() - asked:.2f} s"
    )


def compile_question(folder: Path) -> Path:
    """The program that asks for io_uring, where the container can run it."""
    question = folder / "ask-for-io-uring"
    run("gcc", "-static", ASK_FOR_IO_URING, "-o", question)
    return question


def connect(path: Path) -> socket.socket:
    """A client of the unix socket, as soon as it is there."""
    end = time.monotonic() + 10
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        try:
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def ask(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return client.recv(4096)
