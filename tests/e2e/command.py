"""Runs other programs. The rule: one that fails is an exception that carries its own words."""

import subprocess


class CommandFailed(Exception):
    """A program ended with another exit code than 0, or not in time."""


def run(*words, timeout: float = 60, **how) -> str:
    """Runs a program to its end and returns what it said on standard output."""
    words = [str(word) for word in words]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    try:
        done = subprocess.run(words, timeout=timeout, **how)
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"{' '.join(words)}: still running after {timeout} s") from late
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise CommandFailed(f"{' '.join(words)}: exit code {done.returncode}: {said}")
    return done.stdout
