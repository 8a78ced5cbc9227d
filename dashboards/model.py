"""Rows, panels and queries, and how they become the JSON that Grafana reads."""

from dataclasses import dataclass
from typing import Any, Literal

COLUMNS = 24
ROW_HEIGHT = 1
SCHEMA_VERSION = 39  # Grafana 10; later ones migrate it when they load it
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """A line of a panel.

    Attributes:
        expr: PromQL.
        legend: how its series are called, with {{label}} in place of a label's value.
        sparse: it counts what need not ever have happened, so it may have no series yet.
    """

    expr: str
    legend: str
    sparse: bool = False


@dataclass(frozen=True)
class Panel:
    """A picture with one unit.

    Attributes:
        title: what is shown.
        description: what it means and what to look for, shown when the mouse rests on the title.
        unit: Grafana's name of the unit, e.g. "s", "bytes", "percentunit", "reqps".
        queries: its lines.
        kind: a graph over time, or the last value in large digits.
        width: of the 24 columns.
        height: in Grafana's units of about 30 pixels.
        stacked: whether lines add up to a total.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading, from left to right; those that do not fit go on a next line."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the dashboard, filled by a query for the values of a label.

    Attributes:
        name: used as $name in queries.
        label: what people see.
        query: `label_values(metric, label)`.
    """

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    """All of it.

    Attributes:
        title: its name in Grafana.
        uid: its stable address in Grafana.
        description: one sentence.
        variables: beside `datasource`, which every dashboard has.
        rows: from top to bottom.
    """

    title: str
    uid: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        """Those of all rows."""
        return [panel for row in self.rows for panel in row.panels]


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana's JSON model. Ids and positions follow from the order alone."""
    return {
        "title": dashboard.title,
        "uid": dashboard.uid,
        "description": dashboard.description,
        "tags": ["broker", "grpc"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "panels": _layout(dashboard.rows),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
    }


def _layout(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": ROW_HEIGHT}
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += ROW_HEIGHT
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1, place))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _panel(panel: Panel, identifier: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": identifier,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind == "timeseries",
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"unit": panel.unit}
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 5, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    return {"unit": panel.unit, "min": 0, "custom": custom}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
