"""Both Helms render the charts from every file of values, and Kubernetes would take the objects."""

import kubernetes_validate
import pytest

import rendering
import rules
from objects import of_kind
from rendering import CASES, Refused, lint, render, render_case, values_of
from tools import HELM

# The oldest that the charts are for, and the newest that there is a schema of.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(("chart", "values"), CASES)
def test_lint(chart, values, helm):
    assert "1 chart(s) linted, 0 chart(s) failed" in lint(chart, values_of(chart, values), helm)


@pytest.mark.parametrize(("chart", "values"), CASES)
def test_both_helms_render_the_same(chart, values):
    assert render_case(chart, values, "helm3") == render_case(chart, values, "helm4")


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(("chart", "values"), CASES)
def test_kubernetes_would_take_the_objects(chart, values, version):
    for item in render_case(chart, values):
        if item["kind"] not in rules.CUSTOM:
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize(("chart", "values"), CASES)
def test_no_two_objects_have_one_name(chart, values):
    rules.names_are_names(render_case(chart, values))


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("chart", ["nuthatch", "cache-api"])
def test_an_old_cluster_is_refused(chart, helm):
    render(chart, {}, "--kube-version", "1.30.0", helm=helm)
    with pytest.raises(Refused, match="chart requires kubeVersion: >=1.30.0-0"):
        render(chart, {}, "--kube-version", "1.29.0", helm=helm)


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("word", "oldest", "before"),
    [("PreferClose", "1.31.0", "1.30.9"), ("PreferSameZone", "1.34.0", "1.33.2"), ("PreferSameNode", "1.34.0-a", "1.33.2")],
)
def test_a_field_that_an_old_cluster_would_ignore_is_refused(word, oldest, before, helm):
    values = {"central": {"enabled": True, "service": {"trafficDistribution": word}}}
    assert render("nuthatch", values, "--kube-version", oldest, helm=helm)
    with pytest.raises(Refused, match=f"{word} needs Kubernetes {oldest[:4]}, and the cluster has v{before}"):
        render("nuthatch", values, "--kube-version", before, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_the_chart_can_be_packed(helm, tmp_path):
    folder = rendering.complete("nuthatch")
    rendering.run_helm(helm, "package", folder, "--destination", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["nuthatch-0.1.0.tgz"]


def test_a_file_arrives_as_it_was():
    values = values_of("nuthatch", "config")
    (config_map,) = of_kind(render_case("nuthatch", "config"), "ConfigMap")
    wanted = {"nutcracker.yml": values["config"], "central.yml": values["central"]["config"]}
    files = {f"{name.split('-')[0].removesuffix('.yml')}.yml": text for name, text in config_map["data"].items()}
    assert files == wanted
