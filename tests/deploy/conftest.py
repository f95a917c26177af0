"""What the checks share: the programs, and a summary at the end."""

import os
from pathlib import Path

import pytest

import tools


def pytest_configure():
    tools.fetch_all()


@pytest.fixture(scope="session")
def nuthatch() -> Path:
    """The program whose settings the charts write."""
    program = Path(os.environ["NUTHATCH"]).resolve()
    if not program.exists():
        pytest.fail(f"there is no {program}: run `make build`, or set NUTHATCH to another one")
    return program
