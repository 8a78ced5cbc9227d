"""An API server that goes away, and replicas that take over from one another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.operators import OperatorProcess, running
from tests.support.scratch import eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

#: Short terms, so that tests need not wait for long ones.
HASTY = {"OPERATOR_LEASE_DURATION": "4", "OPERATOR_RENEW_DEADLINE": "2", "OPERATOR_RETRY_PERIOD": "0.5"}


def logged(operator: OperatorProcess, text: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return text in operator.text

    return look


@pytest.mark.parametrize(
    ("settings", "sign"),
    [
        pytest.param({}, "cannot renew the lease", id="shorter than the lease"),
        pytest.param(HASTY, "stopping work", id="longer than the lease"),
    ],
)
async def test_nothing_is_missed_while_the_api_server_is_away(
    house: House, tmp_path: Path, settings: dict[str, str], sign: str
) -> None:
    await house.operator.stop()
    async with running(house.config, house.namespace, tmp_path / "patient.log", settings=settings) as operator:
        for name in ("edited", "deleted"):
            await house.create(name)
            await house.condition(name, "ResourcesSynced", "True")
        await house.proxy.cut()
        await eventually(logged(operator, sign), "the outage is noticed", within=30)
        await house.delete("Deployment", "edited-proxy")
        await house.delete("BrokerCluster", "deleted")
        await house.create("created")
        await house.proxy.restore()

        await house.condition("created", "ResourcesSynced", "True")

        async def mended() -> bool:
            return await house.get("Deployment", "edited-proxy") is not None

        async def forgotten() -> bool:
            return await operator.metric("broker_operator_clusters") == 2

        await eventually(mended, "what was deleted meanwhile is back")
        await eventually(forgotten, "what was deleted meanwhile is forgotten")
        assert operator.process.returncode is None


async def test_two_replicas_of_which_one_works_and_the_other_takes_over(house: House, tmp_path: Path) -> None:
    await house.operator.stop()
    async with running(house.config, house.namespace, tmp_path / "one.log", settings=HASTY) as one:
        await eventually(one.leads, "the first leads")
        async with running(house.config, house.namespace, tmp_path / "two.log", settings=HASTY) as two:
            assert not await two.leads()
            assert "standing by: one leads" in two.text
            one.kill()
            await eventually(two.leads, "the second takes over from one that was killed")
            async with running(house.config, house.namespace, tmp_path / "three.log", settings=HASTY) as three:
                assert await two.stop() == 0
                await eventually(three.leads, "the third takes over from one that stopped")
                await house.create("followed")
                await house.condition("followed", "ResourcesSynced", "True")


async def test_a_lease_given_back_is_free_at_once(house: House) -> None:
    assert await house.operator.stop() == 0
    path = f"/apis/coordination.k8s.io/v1/namespaces/{house.namespace}/leases/broker-operator"
    lease = await house.kube.request("GET", path)
    assert lease["spec"].get("holderIdentity", "") == ""
