"""The queries of the dashboard and of the alerts, and which metrics and labels they name."""

import json
import re

import yaml

from tools import ROOT

FILES = ROOT / "deploy/helm/nuthatch/files"

METRIC = re.compile(r"\b((?:nuthatch|process)_\w+|up)\b(?:\{([^}]*)\})?")


def rules() -> list[dict]:
    """The alerts."""
    (group,) = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def panels() -> list[dict]:
    """What the dashboard shows."""
    return json.loads((FILES / "dashboard.json").read_text())["panels"]


def all_queries() -> dict[str, str]:
    """Every query in the language of Prometheus, by a name for it."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel.get("targets", []):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return found


def variables() -> dict[str, tuple[str, str]]:
    """The dashboard's variables that are read from a metric: the metric, and the label."""
    listed = json.loads((FILES / "dashboard.json").read_text())["templating"]["list"]
    queries = {each["name"]: each["query"]["query"] for each in listed if each["type"] == "query"}
    pattern = re.compile(r"label_values\((\w+).*, (\w+)\)")
    return {name: pattern.fullmatch(query).groups() for name, query in queries.items()}


def names_in(query: str) -> dict[str, set[str]]:
    """The metrics of a query, and the labels by which each is picked."""
    found = {}
    for name, picked in METRIC.findall(query):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", picked))
    return found


def grouped_by(query: str) -> set[str]:
    """The labels by which a query groups and joins."""
    lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    return {label.strip() for text in lists for label in text.split(",")}


def for_prometheus(query: str) -> str:
    """A query of the dashboard without Grafana's variables."""
    return (
        query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pool", ".*")
    )
