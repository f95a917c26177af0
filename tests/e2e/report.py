"""What the test says at its end. The rule: what was measured, beside what was predicted."""

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field


class Mismatch(Exception):
    """Something is not what it must be."""


def check(holds: bool, otherwise: str) -> None:
    """Ends the act unless something holds."""
    if not holds:
        raise Mismatch(otherwise)


@dataclass
class Act:
    """One act: how long it took, what it saw, how it ended."""

    name: str
    seconds: float = 0.0
    errors: str = "none"
    failed: bool = True
    keys: list[tuple[str, int, int]] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Shows a finding at once."""
        print(f"   {sentence}", flush=True)

    def compare_keys(self, predicted: dict[str, int], found: dict[str, int]) -> None:
        """Notes how many keys each server should have and has, and insists that it is the same."""
        for server in sorted(predicted.keys() | found.keys()):
            self.keys.append((server, predicted.get(server, 0), found.get(server, 0)))
        check(predicted == found, f"keys predicted {predicted}, found {found}")


class Report:
    """The acts, and two tables of what came of them."""

    def __init__(self):
        self.acts, self.begin = [], time.monotonic()

    @contextmanager
    def act(self, name: str):
        """Times an act; what goes wrong in it goes on from here."""
        print(f"== {name}", flush=True)
        act, begin = Act(name), time.monotonic()
        self.acts.append(act)
        try:
            yield act
            act.failed = False
        finally:
            act.seconds = time.monotonic() - begin

    def show(self) -> None:
        """Prints both tables; that of the keys if an act has looked at any."""
        print()
        keys = [(act.name, *map(str, row)) for act in self.acts for row in act.keys]
        if keys:
            table(("act", "server", "keys predicted", "found"), keys)
        rows = [(act.name, f"{act.seconds:.1f} s", outcome(act), act.errors) for act in self.acts]
        whole = f"{time.monotonic() - self.begin:.1f} s"
        table(("act", "time", "outcome", "errors seen"), [*rows, ("all", whole, "", "")])


def outcome(act: Act) -> str:
    return "FAILED" if act.failed else "passed"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints columns; those of figures are set to the right."""
    columns = list(zip(head, *rows))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    for row in [head, tuple("-" * width for width in widths), *rows]:
        cells = zip(row, widths, right)
        line = "  ".join(
            f"{cell:>{w}}" if is_right else f"{cell:<{w}}" for cell, w, is_right in cells
        )
        print(line.rstrip())
    print()
    sys.stdout.flush()
