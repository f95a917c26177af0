"""The units for systemd: what systemd itself says of them, and whether the program knows its options."""

import os
import shutil
import subprocess

import pytest

from tools import ROOT

UNITS = ROOT / "deploy/systemd"


@pytest.fixture
def units(tmp_path):
    """The units, with the program where it was built."""
    program = ROOT / os.environ["NUTHATCH"]
    for name in ("nuthatch.service", "nuthatch.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/nuthatch ", f"{program} "))
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong(units):
    paths = [str(units / name) for name in ("nuthatch.service", "nuthatch.socket")]
    result = analyze("verify", "--man=no", *paths)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_service_may_do_little(units):
    result = analyze("security", "--offline=true", "--threshold=20", str(units / "nuthatch.service"))
    assert result.returncode == 0, result.stdout[-300:] + result.stderr


def test_the_program_knows_the_options_of_the_unit(tmp_path):
    text = (UNITS / "nuthatch.service").read_text().replace("\\\n", " ")
    (start,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    (tmp_path / "nuthatch.yml").write_text("p:\n  listen: 127.0.0.1:11211\n  servers: [a:11211:1]\n")
    words = start.removeprefix("ExecStart=/usr/bin/nuthatch").split()
    words = [str(tmp_path / "nuthatch.yml") if word.endswith(".yml") else word for word in words]
    for command in ([], ["upgrade"]):
        call = [ROOT / os.environ["NUTHATCH"], *command, "-t", *words]
        # The directory of the control socket is made by systemd.
        result = subprocess.run(call, capture_output=True, text=True, timeout=10)
        assert result.returncode == 0, result.stderr
