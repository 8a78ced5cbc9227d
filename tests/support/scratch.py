"""A namespace to throw away on a real Kubernetes, and short words for what tests do in it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from broker_operator.kube import BROKER_CLUSTER, CHILD_KINDS, Kind, Kube, Manifest, NotFound

T = TypeVar("T")

NAMESPACE = Kind("v1", "Namespace", "namespaces")
EVENT = Kind("v1", "Event", "events")
KINDS = {kind.kind: kind for kind in CHILD_KINDS}

#: No pods: what the operator does is seen on the objects, and the node is left in peace.
NO_PODS: Mapping[str, Any] = {"replicas": 0, "storage": {"type": "Memory"}, "proxy": {"replicas": 0}}


async def eventually(look: Callable[[], Awaitable[T]], what: str, *, within: float = 60.0) -> T:
    """Look again and again until the answer is truthy; `within` is how long something broken may take to say so."""
    deadline, answer = time.monotonic() + within, await look()
    while not answer:
        assert time.monotonic() < deadline, f"in {within:.0f} s it did not come true that {what}"
        await asyncio.sleep(0.1)
        answer = await look()
    return answer


class Scratch:
    """One namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    async def create(self, name: str, spec: Mapping[str, Any] = NO_PODS, **metadata: Any) -> Manifest:
        """Create a BrokerCluster."""
        body = {
            "apiVersion": BROKER_CLUSTER.api_version,
            "kind": BROKER_CLUSTER.kind,
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": dict(spec),
        }
        return await self.kube.create(BROKER_CLUSTER, body)

    async def get(self, kind: str, name: str) -> Manifest | None:
        """An object, if it exists."""
        try:
            return await self.kube.get(KINDS.get(kind, BROKER_CLUSTER), self.namespace, name)
        except NotFound:
            return None

    async def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Manifest:
        """Change an object as a user would, by a merge patch."""
        path = KINDS.get(kind, BROKER_CLUSTER).path(self.namespace, name)
        return await self.kube.request("PATCH", path, body=change, content_type="application/merge-patch+json")

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object that exists."""
        found = await self.get(kind, name)
        assert found, f"{kind} {name} does not exist"
        await self.kube.delete(KINDS.get(kind, BROKER_CLUSTER), found)

    async def children(self, cluster: str) -> dict[str, str]:
        """`Kind/name` to resourceVersion, of everything labelled as of this BrokerCluster."""
        found = {}
        for kind in CHILD_KINDS:
            if kind.optional and not await self.kube.serves(kind):
                continue
            for item in await self.kube.find(kind, self.namespace, f"app.kubernetes.io/instance={cluster}"):
                found[f"{kind.kind}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found

    async def conditions(self, cluster: str) -> dict[str, Manifest]:
        """The conditions of a BrokerCluster by type, once they are about its latest generation; empty before that."""
        found = await self.get("BrokerCluster", cluster)
        if not found or found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
            return {}
        return {condition["type"]: condition for condition in found["status"]["conditions"]}

    async def condition(self, cluster: str, type_: str, status: str, reason: str = "") -> Manifest:
        """Wait until a condition has this status (and reason)."""

        async def look() -> Manifest | None:
            found = (await self.conditions(cluster)).get(type_)
            return found if found and found["status"] == status and reason in ("", found["reason"]) else None

        return await eventually(look, f"{type_} of {cluster} is {status} {reason}") or {}

    async def events(self, cluster: str) -> list[Manifest]:
        """The Kubernetes Events about a BrokerCluster."""
        found = await self.kube.find(EVENT, self.namespace)
        return [event for event in found if event["involvedObject"].get("name") == cluster]


@asynccontextmanager
async def scratch(kube: Kube) -> AsyncIterator[Scratch]:
    """A new namespace; gone, with all that is in it, at the end."""
    name = f"operator-test-{uuid.uuid4().hex[:8]}"
    path = f"{NAMESPACE.root}/namespaces"
    await kube.request("POST", path, body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield Scratch(kube, name)
    finally:
        # Before the namespace: nothing but the owner references then removes what the operator made.
        await kube.request("DELETE", BROKER_CLUSTER.path(name))
        await kube.request("DELETE", f"{path}/{name}")
