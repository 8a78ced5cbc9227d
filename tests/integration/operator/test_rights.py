"""The rights in the manifests are those the operator uses: not one less, not one more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_operator.kube import CHILD_KINDS, Manifest
from tests.support.clusters import postgres
from tests.support.proxies import refusing_proxy
from tests.support.rights import granted
from tests.support.scratch import NO_PODS, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

# Each kind's smallest valid object.
SPECS: dict[str, Manifest] = {
    "Service": {"spec": {"ports": [{"name": "any", "port": 1, "protocol": "TCP"}]}},
    "Deployment": {
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"stray": "yes"}},
            "template": {
                "metadata": {"labels": {"stray": "yes"}},
                "spec": {"containers": [{"name": "any", "image": "broker.invalid/any:1"}]},
            },
        }
    },
    "PodDisruptionBudget": {"spec": {"selector": {"matchLabels": {"stray": "yes"}}}},
    "HorizontalPodAutoscaler": {
        "spec": {"maxReplicas": 1, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "any"}}
    },
    "NetworkPolicy": {"spec": {"podSelector": {"matchLabels": {"stray": "yes"}}}},
    "ServiceMonitor": {"spec": {"selector": {}, "endpoints": []}},
}


async def test_the_rights_of_the_manifests_are_exactly_those_in_use(house: House) -> None:
    cluster = await house.create("full", {**NO_PODS, "storage": {"type": "SQLite"}, "proxy": {"replicas": 2}})
    await house.condition("full", "ResourcesSynced", "True")
    scaling = {"minReplicas": 1, "maxReplicas": 2}
    await house.create("scaled", {**NO_PODS, "proxy": {"autoscaling": scaling}})
    await house.condition("scaled", "ResourcesSynced", "True")
    await house.create("shared", {**NO_PODS, **postgres(replicas=0)})
    await house.condition("shared", "ResourcesSynced", "True")
    async with refusing_proxy(house, "shared"):
        await house.condition("shared", "Degraded", "True", "ConfigRejected")
    await house.create("secure", {**NO_PODS, "proxy": {"replicas": 0, "tls": {"secretName": "secure-tls"}}})
    await house.condition("secure", "ResourcesSynced", "True")
    for kind in CHILD_KINDS:
        if kind.prunable and (not kind.optional or await house.kube.serves(kind)):
            await house.kube.create(kind, _stray(kind.api_version, kind.kind, cluster))

    async def pruned() -> bool:
        return not [name for name in await house.children("full") if name.endswith("/stray")]

    await eventually(pruned, "what is ours and not asked for is deleted")

    async def renewed() -> bool:
        return any(request.verb == "update" for request in house.proxy.requests)

    await eventually(renewed, "the Lease is renewed")
    assert [failure for failure in house.proxy.failures if failure[1] in (401, 403)] == []
    assert set(house.proxy.requests) == granted()


def _stray(api_version: str, kind: str, owner: Manifest) -> Manifest:
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": "stray",
            "namespace": metadata["namespace"],
            "labels": {
                "app.kubernetes.io/instance": metadata["name"],
                "app.kubernetes.io/managed-by": "broker-operator",
            },
            "ownerReferences": [{**reference, "name": metadata["name"], "uid": metadata["uid"]}],
        },
        **SPECS.get(kind, {}),
    }
