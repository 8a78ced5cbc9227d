"""Kinds that come with other people's CRDs: used when they are there, noticed when they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker_operator.kube import CHILD_KINDS
from tests.support.operators import running
from tests.support.scratch import Scratch, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

GROUP = "monitoring.coreos.com"


async def monitors(room: Scratch) -> int:
    return len([name for name in await room.children("watched") if name.startswith("ServiceMonitor/")])


async def test_service_monitors_are_made_as_soon_as_the_kind_exists(house: House, tmp_path: Path) -> None:
    if not await house.kube.serves(next(kind for kind in CHILD_KINDS if kind.kind == "ServiceMonitor")):
        pytest.skip("the cluster has no ServiceMonitor CRD")
    await house.operator.stop()
    house.proxy.hidden = {GROUP}
    settings = {"OPERATOR_DISCOVERY": "0.5"}
    async with running(house.config, house.namespace, tmp_path / "curious.log", settings=settings) as operator:
        await house.create("watched")
        condition = await house.condition("watched", "MonitoringReady", "False", "NoServiceMonitors")
        assert "install the Prometheus Operator" in condition["message"]
        await house.condition("watched", "ResourcesSynced", "True")
        assert await monitors(house) == 0

        house.proxy.hidden = set()
        await house.condition("watched", "MonitoringReady", "True")
        assert await monitors(house) == 2
        await house.delete("ServiceMonitor", "watched-proxy")

        async def back() -> bool:
            return await monitors(house) == 2

        await eventually(back, "monitors are watched from now on, too")

        house.proxy.hidden = {GROUP}
        await house.condition("watched", "MonitoringReady", "False", "NoServiceMonitors")
        await house.condition("watched", "ResourcesSynced", "True")
        assert operator.process.returncode is None
