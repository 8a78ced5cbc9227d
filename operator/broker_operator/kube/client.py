"""Requests to the API server: get, list, server-side apply, delete, discovery, events."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from broker_operator.kube.errors import Conflict, NotFound, Unavailable, error_from
from broker_operator.kube.kinds import EVENT, POD, Kind, kind_of

#: One name for all our writes: server-side apply removes what this manager no longer sends.
FIELD_MANAGER = "broker-operator"

Manifest = dict[str, Any]

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

logger = logging.getLogger(__name__)


class Kube:
    """A connection to one API server.

    Every method raises a `KubeError` of the fitting type. Use as an async context manager, or `close` it.
    """

    def __init__(self, configuration: Configuration, *, request_timeout: float = 30.0) -> None:
        self.configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        self._timeout = aiohttp.ClientTimeout(total=request_timeout, connect=min(10.0, request_timeout))

    async def __aenter__(self) -> Kube:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        return await self.request("GET", kind.path(namespace, name))

    async def find(
        self, kind: Kind, namespace: str, selector: str = "", *, fields: str = "", metadata: bool = False
    ) -> list[Manifest]:
        """Read the objects with these labels and fields; with `metadata`, only who they are and whose."""
        query = [(name, text) for name, text in (("labelSelector", selector), ("fieldSelector", fields)) if text]
        accept = f"{_METADATA_ONLY},{_JSON}" if metadata else _JSON
        answer = await self.request("GET", kind.path(namespace), query=query, accept=accept)
        return cast("list[Manifest]", answer.get("items") or [])

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        """Server-side apply one child object, and return it as it now stands.

        Fields that another manager took are logged and taken back.
        """
        kind, metadata = kind_of(manifest), manifest["metadata"]
        return await self._apply(kind.path(metadata["namespace"], metadata["name"]), manifest, manager)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply the status of one object."""
        metadata = manifest["metadata"]
        return await self._apply(kind.path(metadata["namespace"], metadata["name"], "status"), manifest)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create one object; `Conflict` when it exists."""
        return await self.request("POST", kind.path(manifest["metadata"]["namespace"]), body=manifest)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Write a whole object back; `Conflict` when somebody changed it since it was read."""
        metadata = manifest["metadata"]
        return await self.request("PUT", kind.path(metadata["namespace"], metadata["name"]), body=manifest)

    async def delete(self, kind: Kind, manifest: Manifest) -> None:
        """Delete exactly this object, not a namesake that came after it. One that is gone is fine."""
        metadata = manifest["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            await self.request("DELETE", kind.path(metadata["namespace"], metadata["name"]), body=options)
        except NotFound:
            logger.debug("%s %s was gone already", kind.kind, metadata["name"])

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows this kind now."""
        try:
            answer = await self.request("GET", kind.root)
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in answer.get("resources") or [])

    async def log(self, namespace: str, pod: str, container: str, *, lines: int, most_bytes: int) -> str:
        """The last lines that a container of a pod has logged, up to so many bytes."""
        query = [("container", container), ("tailLines", str(lines)), ("limitBytes", str(most_bytes))]
        data = await self._send("GET", POD.path(namespace, pod, "log"), query=query, accept="*/*")
        return data.decode(errors="replace")

    async def post_event(self, regarding: Manifest, *, warning: bool, reason: str, message: str, now: str) -> None:
        """Write a Kubernetes Event about an object. `now` is an RFC 3339 time."""
        metadata = regarding["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:1024],  # the API's own limit
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self.create(EVENT, event)

    async def _apply(self, path: str, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        query = [("fieldManager", manager)]
        try:
            return await self.request("PATCH", path, query=query, body=manifest, content_type=_APPLY)
        except Conflict as conflict:
            if not conflict.field_conflicts:
                raise
            for other in conflict.field_conflicts:
                logger.warning(
                    "taking back %s of %s/%s: %s",
                    other.field,
                    manifest["kind"],
                    manifest["metadata"]["name"],
                    other.message,
                )
        return await self.request("PATCH", path, query=[*query, ("force", "true")], body=manifest, content_type=_APPLY)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest:
        """Send one request and return the JSON of its answer."""
        return _decoded(await self._send(method, path, query, body, content_type, accept))

    async def _send(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> bytes:
        call = await self._client.param_serialize(
            method,
            path,
            query_params=query or None,
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        _, url, headers, payload, _ = call
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=payload, _request_timeout=self._timeout
            )
            data: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from the API server: {error or type(error).__name__}") from error
        if response.status >= 400:
            raise error_from(
                response.status, _decoded(data), retry_after=response.getheader("Retry-After"), reason=response.reason
            )
        return data


def _decoded(data: bytes) -> Manifest:
    """The JSON object of an answer; an empty one for what is none (a proxy's HTML page, an empty body)."""
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        return {"message": data[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {}
