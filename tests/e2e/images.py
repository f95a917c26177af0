"""The images of the test. No registry is asked for any: each one is made here.

The rule: what users get is made the way they get it, by `make images`. The toolchain image under it
is Debian's packages and the toolchain of this machine; the images of other people's programs
(memcached, Redis, and the pause container of each pod) have the program of the Debian package, its
libraries, and what else is asked of them.
"""

import subprocess
import tarfile
from pathlib import Path

from .command import run
from .engine import Engine

DEBIAN = "http://deb.debian.org/debian"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def build_flags(engine: Engine) -> list[str]:
    """What `docker build` must be told where no registry is."""
    return ["--network=host", f"--build-arg=RUST_IMAGE={toolchain_image(engine)}"]


def build_ours(engine: Engine, repository: Path, flags: list[str]) -> list[str]:
    """Runs `make images` against this engine and returns the names of the images."""
    settings = {"DOCKER": engine.client, "IMAGE_FLAGS": flags}
    words = [f"{name}={' '.join(value)}" for name, value in settings.items()]
    run("make", "-C", repository, "images", *words, timeout=900)
    listed = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    return sorted(name for name in listed.split() if name.startswith("nuthatch"))


def toolchain_image(engine: Engine) -> str:
    """What the official Rust image has, from Debian's packages and the toolchain in use."""
    version = run("rustc", "--version").split()[1]
    tag = f"local/rust:{version}"
    if engine.docker("image", "ls", "--quiet", tag):
        return tag
    toolchain = run("rustc", "--print", "sysroot").strip()
    there = '"$1/usr/local/rust"'
    hooks = [
        f"mkdir -p {there} && cp -a {toolchain}/bin {toolchain}/lib {there}",
        # A proxy in between may have a certificate of its own, which this machine knows.
        f"copy-in {CERTIFICATES} {Path(CERTIFICATES).parent}",
    ]
    packages = ["--variant=essential", "--include=gcc,libc6-dev,ca-certificates"]
    hooks = [f"--customize-hook={hook}" for hook in hooks]
    bootstrap = ["mmdebstrap", "--quiet", *packages, *hooks, "bookworm", "-", DEBIAN]
    environment = {
        "PATH": "/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CARGO_HOME": "/usr/local/cargo",
        "CARGO_HTTP_CAINFO": CERTIFICATES,
    }
    changes = [f"--change=ENV {name}={value}" for name, value in environment.items()]
    with subprocess.Popen(bootstrap, stdout=subprocess.PIPE) as bootstrapped:
        engine.docker("import", *changes, "-", tag, stdin=bootstrapped.stdout, timeout=900)
    if bootstrapped.returncode != 0:
        engine.docker("image", "rm", tag)
        raise SystemExit("mmdebstrap failed; its words are above")
    return tag


def import_memcached(engine: Engine, tag: str) -> None:
    """memcached as the official image has it: its user is a name, and there is a busybox."""
    files = {name: "/bin/busybox" for name in ("/bin/sh", "/bin/nc")}
    files["/etc/passwd"] = "/etc/passwd"
    import_program(engine, tag, "/usr/bin/memcached", ["USER memcache"], files)


def import_redis(engine: Engine, tag: str) -> None:
    """Redis as the official images have it: a client, a shell, and root as the user."""
    client = "/usr/bin/redis-cli"
    files = {name: "/bin/busybox" for name in ("/bin/sh", "/bin/cat")}
    files |= {file: file for file in [client, *libraries(client)]}
    import_program(engine, tag, "/usr/bin/redis-server", [], files)


def import_pause(engine: Engine, tag: str) -> None:
    """A program that does nothing, and so keeps a pod's network."""
    import_program(engine, tag, "/bin/sleep", ['CMD ["infinity"]'], {})


def import_program(
    engine: Engine, tag: str, program: str, settings: list[str], files: dict[str, str]
) -> None:
    """Makes an image of one program of this machine, the libraries that it loads, and files."""
    archive = engine.scratch / "program.tar"
    files = {file: file for file in [program, *libraries(program)]} | files
    with tarfile.open(archive, mode="w") as tar:
        for name, file in files.items():
            tar.add(Path(file).resolve(), arcname=name)
    changes = [f"--change={setting}" for setting in [f'ENTRYPOINT ["{program}"]', *settings]]
    engine.docker("import", *changes, archive, tag)


def libraries(program: str) -> list[str]:
    """The paths that `ldd` names, the loader among them."""
    words = run("ldd", program).split()
    return [word for word in words if word.startswith("/")]
