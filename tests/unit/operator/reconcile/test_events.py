"""Events tell of transitions that a person wants to hear of."""

from __future__ import annotations

from typing import Any

import pytest

from broker_operator.reconcile.events import tellings


def conditions(**statuses: str) -> list[dict[str, Any]]:
    return [
        {"type": type_, "status": status, "reason": f"{type_}Is{status}", "message": "m"}
        for type_, status in statuses.items()
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, {"Ready": "False", "Degraded": "False"}, []),
        ({"Ready": "False"}, {"Ready": "True"}, [(False, "ReadyIsTrue")]),
        ({"Ready": "True"}, {"Ready": "False"}, [(True, "ReadyIsFalse")]),
        ({"Ready": "True"}, {"Ready": "True"}, []),
        ({"Degraded": "False"}, {"Degraded": "True"}, [(True, "DegradedIsTrue")]),
        ({"Degraded": "True"}, {"Degraded": "False"}, [(False, "Recovered")]),
        ({}, {"ReconciliationPaused": "True"}, [(True, "ReconciliationPausedIsTrue")]),
        ({"ReconciliationPaused": "True"}, {}, [(False, "Resumed")]),
        ({"Progressing": "True"}, {"Progressing": "False"}, []),
    ],
)
def test_what_is_told(old: dict[str, str], new: dict[str, str], told: list[tuple[bool, str]]) -> None:
    found = tellings(conditions(**old), conditions(**new))
    assert [(warning, reason) for warning, reason, _ in found] == told
