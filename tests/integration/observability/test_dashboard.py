"""Every query of the dashboard has an answer from a real Prometheus.

It shows that the queries are valid and meet the metrics and labels that exist. It does not show how Grafana draws them.
"""

import re

import pytest

from dashboards.cluster import DASHBOARD
from dashboards.model import Panel, Query
from tests.integration.observability.conftest import CLUSTER, Scraped

QUERIES = [(panel, query) for panel in DASHBOARD.panels for query in panel.queries]


@pytest.mark.parametrize(
    ("panel", "query"), QUERIES, ids=[f"{panel.title}: {query.legend}" for panel, query in QUERIES]
)
def test_a_query_has_an_answer(scraped: Scraped, panel: Panel, query: Query) -> None:
    result = scraped.query(query.expr)
    if query.sparse:
        (metric,) = re.findall(r"(\w+)\{", query.expr)
        family = metric.removesuffix("_total")
        known = (
            scraped.prometheus.get("metadata", metric=metric).result
            or scraped.prometheus.get("metadata", metric=family).result
        )
        assert known, f"nothing declares {metric}"
    else:
        assert result, f"{panel.title} shows nothing: {query.expr}"
    for series in result:
        missing = set(re.findall(r"\{\{(\w+)\}\}", query.legend)) - series["metric"].keys()
        assert not missing, f"the legend of {panel.title} names labels that the series lack"


def test_the_variables_find_the_cluster(scraped: Scraped) -> None:
    for variable, value in zip(DASHBOARD.variables, (CLUSTER.namespace, CLUSTER.name), strict=True):
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.query)
        assert found, variable.query
        metric, label = found.groups()
        assert {series["metric"][label] for series in scraped.query(metric)} == {value}


def test_what_happened_is_what_is_shown(scraped: Scraped) -> None:
    shown = {panel.title: panel for row in DASHBOARD.rows for panel in row.panels if panel.kind != "stat"}

    def value(panel: str, **labels: str) -> float:
        series = scraped.query(shown[panel].queries[0].expr)
        return sum(float(one["value"][1]) for one in series if labels.items() <= one["metric"].items())

    assert value("Calls by code", method="Publish", code="OK") > 0
    assert value("Calls by code", method="Publish", code="INVALID_ARGUMENT") > 0
    assert value("Messages in", kind="stored") > 0
    assert value("Messages out") > 0
    assert value("Limited calls") > 0
    assert value("Messages refused by brokers", reason="SUBJECT_INVALID") > 0
    assert value("Subscriptions") == 1
    assert value("Brokers in use") == 1
    assert value("Streams open at the proxies", envoy_cluster_name="broker-streams") == 1
