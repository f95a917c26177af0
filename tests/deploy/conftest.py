"""What the checks share: the programs, and a summary at the end."""

import os
from collections import Counter
from pathlib import Path

import pytest

import tools

# What is counted, in the order of the summary.
OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_configure():
    tools.fetch_all()


@pytest.fixture(scope="session")
def nuthatch() -> Path:
    """The program whose settings the charts write."""
    program = Path(os.environ["NUTHATCH"]).resolve()
    if not program.exists():
        pytest.fail(f"there is no {program}: run `make build`, or set NUTHATCH to another one")
    return program


def pytest_terminal_summary(terminalreporter):
    """A line for each file of checks."""
    counts: dict[str, Counter] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            name = Path(report.nodeid.split("::")[0]).stem.removeprefix("test_")
            counts.setdefault(name, Counter())[outcome] += 1
    terminalreporter.section("deploy")
    for name, count in sorted(counts.items()):
        told = ", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES if count[outcome])
        terminalreporter.write_line(f"{name:12} {told}")
