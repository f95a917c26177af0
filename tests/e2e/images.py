"""The images of the test. No registry is asked for any: each one is made here.

The rule: what users get is made the way they get it, by `make images`. The toolchain image under it
is Debian's packages and the toolchain of this machine; the images of other people's programs
(memcached, and the pause container of each pod) are the program of the Debian package, its
libraries, and nothing else.
"""

import subprocess
import tarfile
from pathlib import Path

from .command import run
from .engine import CLIENT, Engine

DEBIAN = "http://deb.debian.org/debian"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def build_ours(engine: Engine, repository: Path) -> list[str]:
    """Runs `make images` against this engine and returns the names of the images."""
    flags = f"--network host --build-arg RUST_IMAGE={toolchain_image(engine)}"
    docker = f"DOCKER={CLIENT} --host {engine.host}"
    make = ["make", "-C", repository, "images", docker, f"IMAGE_FLAGS={flags}"]
    run(*make, timeout=900)
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
        engine.docker("import", *changes, "-", tag, stdin=bootstrapped.stdout, timeout=300)
    if bootstrapped.returncode != 0:
        engine.docker("image", "rm", tag)
        raise SystemExit("mmdebstrap failed; its words are above")
    return tag


def import_program(engine: Engine, tag: str, program: str, *settings: str) -> None:
    """Makes an image of one program of this machine and the libraries that it loads."""
    archive = engine.scratch / "program.tar"
    with tarfile.open(archive, mode="w") as tar:
        for file in [program, *libraries(program)]:
            tar.add(Path(file).resolve(), arcname=file)
    changes = [f"--change={setting}" for setting in [f'ENTRYPOINT ["{program}"]', *settings]]
    engine.docker("import", *changes, archive, tag)


def libraries(program: str) -> list[str]:
    """The paths that `ldd` names, the loader among them."""
    words = run("ldd", program).split()
    return [word for word in words if word.startswith("/")]
