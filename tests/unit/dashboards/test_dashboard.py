"""The dashboard's JSON is what its data says, and Grafana can place and fill every panel of it."""

import itertools
import json
import re
from typing import Any

import pytest

from dashboards import build
from dashboards.cluster import DASHBOARD
from dashboards.model import to_json

DOCUMENT = to_json(DASHBOARD)
PANELS = [panel for panel in DOCUMENT["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_the_committed_json_is_the_generated_one() -> None:
    assert build.OUTPUT.read_text(encoding="utf-8") == build.text(), "run: python -m dashboards.build"


def test_the_operator_ships_the_same_file() -> None:
    shipped = build.OUTPUT.resolve()
    assert shipped.parts[-3:] == ("render", "dashboards", "brokercluster.json")


def test_panel_ids_are_unique() -> None:
    ids = [panel["id"] for panel in DOCUMENT["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_neither_overlap_nor_leave_the_grid() -> None:
    for place in (panel["gridPos"] for panel in DOCUMENT["panels"]):
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(DOCUMENT["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), f"{one['title']} and {other['title']}"


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_says_its_unit_and_meaning(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert panel["targets"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_data_comes_from_the_chosen_source() -> None:
    targets = [target for panel in PANELS for target in panel["targets"]]
    queried = [variable for variable in DOCUMENT["templating"]["list"] if variable["type"] == "query"]
    assert {one["datasource"]["uid"] for one in [*PANELS, *targets, *queried]} == {"${datasource}"}


def test_every_variable_is_used_and_every_used_variable_exists() -> None:
    variables = {variable["name"] for variable in DOCUMENT["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DOCUMENT))) - {"__rate_interval"}
    assert used == variables


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_query_looks_at_the_chosen_cluster_only(expression: str) -> None:
    selectors = re.findall(r"\{(.*?)\}", expression)
    assert selectors
    for selector in selectors:
        assert 'namespace="$namespace"' in selector
        assert 'app_kubernetes_io_instance="$cluster"' in selector
