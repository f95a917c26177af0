"""Alerts and dashboard: queries are sound, what they name exists, and every alert can fire."""

import subprocess

import pytest
import yaml

import queries
from exposition import labels_by_metric, scrape
from objects import of_kind
from queries import FILES, all_queries, for_prometheus, grouped_by, names_in, rules
from rendering import Refused, complete, objects_of, render_case, run_helm
from tools import CACHE, HELM, ROOT

GUIDE = ROOT / "docs/kubernetes.md"
CASES_OF_ALERTS = ROOT / "tests/deploy/alerts.yaml"
# Of a dashboard.
COLUMNS = 24
# Prometheus says itself of every target whether it answered.
OF_PROMETHEUS = {"up": set()}
# What the PodMonitor, and Prometheus by it, adds to every metric of a target.
OF_TARGETS = {"namespace", "pod", "container", "fleet"}
# Labels that a query makes, or that are part of a histogram.
OF_QUERIES = {"ring", "le"}


def promtool(*arguments, stdin: str = "") -> None:
    """Runs promtool; what it has to say is the failure."""
    command = [CACHE / "promtool", *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def metrics(nuthatch, tmp_path_factory) -> str:
    return scrape(nuthatch, tmp_path_factory.mktemp("proxy"))


def test_promtool_likes_the_metrics(metrics):
    promtool("check", "metrics", stdin=metrics)


def test_what_the_queries_name_exists(metrics):
    known = {**labels_by_metric(metrics), **OF_PROMETHEUS}
    for where, query in all_queries().items():
        picked = names_in(query)
        assert picked, f"{where}: no metric in {query}"
        assert set(picked) <= set(known), where
        for name, labels in picked.items():
            assert labels <= known[name] | OF_TARGETS, f"{where}: {name}"
        of_all = set().union(*(known[name] for name in picked))
        assert grouped_by(query) <= of_all | OF_TARGETS | OF_QUERIES, where


def test_what_the_variables_name_exists(metrics):
    known = labels_by_metric(metrics)
    for name, (metric, label) in queries.variables().items():
        assert label in known[metric] | OF_TARGETS, name


def test_promtool_likes_the_queries_of_the_dashboard(tmp_path):
    recorded = [
        {"record": f"panel_{number}", "expr": for_prometheus(query)}
        for number, query in enumerate(all_queries().values())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", path)


def test_promtool_likes_the_rules_as_rendered(tmp_path):
    (rule,) = of_kind(render_case("nuthatch", "monitoring"), "PrometheusRule")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.dump(rule["spec"]))
    promtool("check", "rules", path)


def test_every_alert_can_fire_and_be_silent():
    promtool("test", "rules", CASES_OF_ALERTS)
    cases = yaml.safe_load(CASES_OF_ALERTS.read_text())["tests"]
    checks = [check for case in cases for check in case.get("alert_rule_test", [])]
    for answer in (True, False):
        shown = {check["alertname"] for check in checks if bool(check["exp_alerts"]) is answer}
        assert shown == {rule["alert"] for rule in rules()}, "firing" if answer else "silent"


def test_every_alert_says_what_to_do():
    headings = [
        line.lstrip("# ") for line in GUIDE.read_text().splitlines() if line.startswith("#")
    ]
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        link = f"docs/kubernetes.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook_url"] == link, rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"]), rule["alert"]
        assert rule["alert"] in headings, f"{rule['alert']} has no heading in {GUIDE.name}"


def test_rings_may_differ_for_longer_than_a_new_file_takes_to_all_pods():
    (rule,) = (rule for rule in rules() if rule["alert"] == "NuthatchRingDisagrees")
    values = yaml.safe_load((ROOT / "deploy/helm/nuthatch/values.yaml").read_text())
    taken, patience = values["proxy"]["migrate"]["settle"], rule["for"]
    assert taken.endswith("m") and patience.endswith("m")
    assert 2 * int(taken[:-1]) < int(patience[:-1])


def test_no_query_knows_the_usual_name_of_the_container_only():
    for where, query in all_queries().items():
        assert 'container="' not in query, where


def test_the_rule_links_to_where_the_guide_is():
    (rule,) = of_kind(render_case("nuthatch", "monitoring"), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    links = [each["annotations"]["runbook_url"] for each in group["rules"]]
    base = "https://example.com/nuthatch/docs/kubernetes.md#"
    assert links == [base + each["alert"].lower() for each in rules()]


def test_panels_have_a_place_of_their_own():
    panels = queries.panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, lines = (
            range(place["x"], place["x"] + place["w"]),
            range(place["y"], place["y"] + place["h"]),
        )
        cells = {(column, line) for column in columns for line in lines}
        assert not cells & taken and max(columns) < COLUMNS, panel["title"]
        taken |= cells


def test_grafana_finds_the_dashboard():
    config_maps = of_kind(render_case("nuthatch", "monitoring"), "ConfigMap")
    (dashboard,) = [item for item in config_maps if item["metadata"]["name"].endswith("-dashboard")]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["data"]["nuthatch.json"] == (FILES / "dashboard.json").read_text()


def test_the_pod_monitor_finds_every_proxy():
    objects = render_case("cache-api", "monitoring")
    (monitor,) = of_kind(objects, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert set(monitor["spec"]) == {"selector", "podMetricsEndpoints"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    keep, fleet = endpoint.pop("relabelings")
    assert endpoint == {"port": "admin", "path": "/metrics", "interval": "30s"}
    assert keep["sourceLabels"] == ["__meta_kubernetes_pod_container_name"]
    assert (keep["action"], keep["regex"]) == ("keep", "nuthatch(-.+)?")
    assert (fleet["targetLabel"], fleet["replacement"]) == ("fleet", "sessions")


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("word", ["'123'", "'1e3'", "'0x10'", "'y'", "'on'", "'null'", "e1", "1.2.3", "123a"])
def test_a_fleet_is_a_text_however_it_looks(word, helm):
    (monitor,) = of_kind(objects_of(render_fleet(word, helm)), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][1]["replacement"] == word.strip("'")


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("word", ["123", "1e3", "0x10", "1.5", "y", "n", "on", "[a]"])
def test_a_fleet_that_is_no_text_without_quotes_is_refused(word, helm):
    """Helm reads 1e3 as 1000 and y as true, and no label would tell what its user wrote."""
    with pytest.raises(Refused, match="podMonitor[./]fleet.*[sS]tring"):
        render_fleet(word, helm)


def render_fleet(word: str, helm: str) -> str:
    """What Helm makes of a file with the word for the fleet."""
    values = f"podMonitor:\n  enabled: true\n  fleet: {word}\n"
    return run_helm(helm, "template", "release", complete("nuthatch"), "--values", "-", stdin=values)
