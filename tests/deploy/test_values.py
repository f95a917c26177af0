"""The values of the chart: what they must be, and that they are told of completely.

The rule: Helm 4 says in these words what is wrong; Helm 3 has others, but refuses the same.
"""

import json
import re

import pytest
import yaml

import values_table
from bad_values import BAD
from rendering import VALUES, Refused, render, values_of
from tools import HELM, ROOT

CHART = ROOT / "deploy/helm/nuthatch"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize(("values", "answer"), BAD)
def test_a_bad_value_is_refused_with_its_place(values, answer):
    with pytest.raises(Refused, match=re.escape(answer)):
        render("nuthatch", yaml.safe_load(values), helm="helm4")


@pytest.mark.parametrize(("values", "answer"), BAD)
def test_helm_3_refuses_the_same(values, answer):
    with pytest.raises(Refused):
        render("nuthatch", yaml.safe_load(values), helm="helm3")


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("memory", "written"),
    # As numbers of a file and with every unit that Kubernetes has; all are at least the 64Mi of the request.
    [(134217728, "134217728"), (1e9, "1000000000"), (68719476736.5, "68719476736.5")]
    + [(each, each) for each in ("1e9", "128E6", "1.5e+9", "134217728", "0.5Gi", "1P", "1Ei", "70000000000m")],
)
def test_a_quantity_may_be_a_number_or_have_any_unit(memory, written, helm):
    given = {"resources": {"limits": {"memory": memory}}}
    (ping,) = (
        item
        for item in render("nuthatch", {"sidecar": given, "central": {"enabled": True}}, helm=helm)
        if item["metadata"]["name"] == "release-nuthatch-test-ping"
    )
    assert ping["spec"]["containers"][0]["resources"]["limits"]["memory"] == written


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("place", ["sidecar", "central", "memcached"])
@pytest.mark.parametrize("memory", [1073741824, 1e12, "1e12", "1E12", "1P", "1Ei", "0.001Ti"])
def test_a_request_above_its_limit_is_refused_however_it_is_written(memory, place, helm):
    values = {place: {"resources": {"requests": {"memory": memory}}}}
    with pytest.raises(Refused, match=f"{place}.resources: the request of memory, .* more than its limit"):
        render("nuthatch", values, helm=helm)


@pytest.mark.parametrize(
    "values",
    [
        # What the chart does not set, and words that only look like it.
        {"proxy": {"extraArgs": ["-v", "7", "--discovery-hold=60", "--no-watch", "--dns-ttl-max=5", "-p/a"]}},
        {"memcached": {"extraArgs": ["-v", "-t", "4", "-o", "modern", "-R20", "--threads=4", "-Ct2", "-U", "0"]}},
        {"protocol": "redis", "redis": {"extraArgs": ["--maxmemory-policy", "volatile-lru", "--io-threads", "2"]}},
        # Another address, or another port.
        {"config": "a: {listen: [127.0.0.1:11211, 127.0.0.2:22222, 127.0.0.1:9601]}"},
        {"proxy": {"statsAddress": "/tmp/a"}, "config": "a: {listen: ['*:11211', '*:22222']}"},
        {"central": {"enabled": True, "config": "a: {listen: ['[::]:11211', '127.0.0.1:1']}"}},
        {"config": "# ours\n---\nError: {listen: ['127.1:11211', '[::1]:11211']}\n"},
        # An anchor without an alias, and stars that begin none.
        {"config": "# it's *a and \"b\na: &a\n  listen: ['127.0.0.1:11211', \"*:1\"] # *c\n  hash_tag: \"\\\"*\"\n"},
        {"config": "'a': {listen: '127.0.0.1:11211', servers: [a:1:1 *b, 'c:1:1 - *d', \"e:1:1\n    *f\"]}\n"},
        {"central": {"enabled": True, "config": "a: {listen: '0:11211'}"}},
        # A file of central proxies has servers of its own.
        {
            "sidecar": {"enabled": False},
            "memcached": {"enabled": False},
            "central": {"enabled": True, "config": "a: {listen: '*:11211', servers: ['b:11211:1']}"},
        },
        # Kubernetes takes the limit for the request.
        {"central": {"enabled": True, "resources": {"requests": {"cpu": ""}, "limits": {"cpu": 1}}}},
        {"memcached": {"memoryMegabytes": 1024, "resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": 1}}}},
    ],
)
def test_what_clashes_with_nothing_is_rendered(values):
    assert render("nuthatch", values)


@pytest.mark.parametrize("helm", HELM)
def test_a_parent_chart_is_told_so_too(helm):
    with pytest.raises(Refused, match="tiemout"):
        render("cache-api", {"nuthatch": {"proxy": {"tiemout": 400}}}, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_an_application_needs_a_proxy(helm):
    with pytest.raises(Refused, match="there is no proxy to talk to"):
        render("cache-api", {"nuthatch": {"sidecar": {"enabled": False}}}, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_the_example_can_have_a_native_sidecar_only(helm):
    with pytest.raises(Refused, match="native"):
        render("cache-api", {"nuthatch": {"sidecar": {"native": False}}}, helm=helm)


def test_every_object_of_the_schema_is_closed():
    def open_ones(schema, path="values"):
        if isinstance(schema, dict):
            if schema.get("type") == "object" and "additionalProperties" not in schema:
                yield path
            for key, value in schema.items():
                yield from open_ones(value, f"{path}.{key}")

    assert list(open_ones(SCHEMA)) == ["values.properties.global"]


def follow(schema: dict) -> dict:
    """A schema in place of a reference to it."""
    return values_table.followed(schema, SCHEMA)


def test_the_schema_knows_every_value_and_no_other():
    def paths(schema, prefix=""):
        schema = follow(schema)
        for key, value in schema.get("properties", {}).items():
            yield f"{prefix}{key}"
            yield from paths(value, f"{prefix}{key}.")

    free = {"resources", "selector", "affinity"}
    shown = {path for path in paths(SCHEMA) if not free & set(path.split(".")[:-1])}
    assert shown - {"global", "enabled"} == set(values_table.paths(DEFAULTS))


def test_the_readme_has_the_table_of_values():
    table = values_table.table((CHART / "values.yaml").read_text(), SCHEMA)
    readme = (CHART / "README.md").read_text()
    assert table in readme, f"the table in the chart's README.md must be:\n{table}"


def test_the_readme_says_in_words_what_a_pattern_allows():
    """A value that may be any text is said to be one."""
    for path in values_table.paths(DEFAULTS):
        if values_table.is_value(path, values_table.at(DEFAULTS, path)):
            schema = values_table.schema_at(path, SCHEMA)
            for each in [schema, *schema.get("anyOf", []), schema.get("items", {})]:
                each = follow(each)
                assert "pattern" not in each or "description" in each, path


def test_the_cases_set_every_value():
    def given(values, prefix=""):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from given(value, f"{prefix}{key}.") if isinstance(value, dict) else ()

    tried = {path for file in VALUES for path in given(values_of("nuthatch", file.stem))}
    # charts/plain is the case for that one.
    assert set(values_table.paths(DEFAULTS)) - tried == {"sidecar.native"}


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (CHART / "README.md").read_text())
    assert links and [link for link in links if not (CHART / link).exists()] == []
