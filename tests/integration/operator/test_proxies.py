"""What the operator says of proxies that run something else than they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.proxies import refusing_proxy
from tests.support.scratch import eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House


async def test_a_proxy_that_refuses_its_configuration_is_named(home: House) -> None:
    await home.create("refused")
    await home.condition("refused", "ResourcesSynced", "True")
    async with refusing_proxy(home, "refused") as pod:
        condition = await home.condition("refused", "Degraded", "True", "ConfigRejected")
        found = await home.get("BrokerCluster", "refused")
        config_map = await home.get("ConfigMap", "refused-proxy")
    assert found
    assert config_map
    wanted = config_map["metadata"]["annotations"]["brokercluster.dev/config-version"]
    error = f"see kubectl logs -n {home.namespace} {pod} -c envoy"
    assert condition["message"] == f"proxy {pod} refuses configuration {wanted} and goes on with old: {error}"
    assert found["status"]["proxyConfig"] == {
        "version": wanted,
        "proxies": [{"pod": pod, "version": "old", "error": error}],
    }

    async def gone() -> bool:
        found = await home.get("BrokerCluster", "refused")
        return bool(found) and "proxies" not in found["status"]["proxyConfig"]

    await eventually(gone, "a pod that is gone is no longer spoken of")
    await home.condition("refused", "Degraded", "False")
