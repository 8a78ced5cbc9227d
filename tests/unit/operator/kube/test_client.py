"""The client against a server in this process that answers as the API server does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from broker_operator.kube import (
    BROKER_CLUSTER,
    CHILD_KINDS,
    POD,
    Conflict,
    Forbidden,
    Invalid,
    Kube,
    KubeError,
    NotFound,
    Throttled,
    Unavailable,
    kind_of,
)

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"}}


class Server:
    """Answers with the queued responses, and keeps what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, str, Any, str]] = []

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body, headers))

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.path_qs, json.loads(body) if body else None, request.content_type))
        status, content, headers = self.answers.pop(0)
        text = content if isinstance(content, str) else json.dumps(content or {})
        return web.Response(status=status, text=text, headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def kube(server: Server) -> AsyncIterator[Kube]:
    configuration = Configuration(host=server.url, api_key={"BearerToken": "bearer of-tests"})
    async with Kube(configuration, request_timeout=5) as made:
        yield made


def status(code: int, message: str, causes: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "message": message, "details": {"causes": causes or []}}


@pytest.mark.parametrize(
    ("code", "kind", "retriable"),
    [
        (400, Invalid, False),
        (401, Forbidden, True),
        (403, Forbidden, True),
        (404, NotFound, False),
        (409, Conflict, True),
        (422, Invalid, False),
        (429, Throttled, True),
        (500, Unavailable, True),
        (503, Unavailable, True),
    ],
)
async def test_each_refusal_has_its_type(
    server: Server, kube: Kube, code: int, kind: type[KubeError], retriable: bool
) -> None:
    server.answer(code, status(code, "because"))
    with pytest.raises(kind, match="because") as caught:
        await kube.get(POD, "shop", "one")
    assert type(caught.value) is kind
    assert caught.value.retriable is retriable
    assert caught.value.status == code


async def test_the_wish_to_wait_is_read(server: Server, kube: Kube) -> None:
    server.answer(429, status(429, "slow down"), **{"Retry-After": "7"})
    with pytest.raises(Throttled) as caught:
        await kube.get(POD, "shop", "one")
    assert caught.value.retry_after == 7


async def test_the_paths_of_faulty_fields_are_read(server: Server, kube: Kube) -> None:
    server.answer(422, status(422, "no", [{"reason": "FieldValueInvalid", "field": "spec.x", "message": "bad"}]))
    with pytest.raises(Invalid) as caught:
        await kube.apply(SERVICE)
    assert caught.value.fields == ["spec.x"]


async def test_an_answer_that_is_no_json_is_still_an_error_of_its_status(server: Server, kube: Kube) -> None:
    server.answer(502, "<html>bad gateway</html>")
    with pytest.raises(Unavailable, match="bad gateway"):
        await kube.get(POD, "shop", "one")


async def test_nobody_there_is_unavailable() -> None:
    async with Kube(Configuration(host="http://127.0.0.1:1"), request_timeout=2) as kube:
        with pytest.raises(Unavailable) as caught:
            await kube.get(POD, "shop", "one")
    assert caught.value.status == 0


async def test_an_apply_asks_first_and_forces_only_when_a_field_is_taken(
    server: Server, kube: Kube, caplog: pytest.LogCaptureFixture
) -> None:
    cause = {"reason": "FieldManagerConflict", "field": ".spec.type", "message": 'conflict with "kubectl-edit"'}
    server.answer(409, status(409, "conflict", [cause]))
    server.answer(200, {"applied": True})
    assert await kube.apply(SERVICE) == {"applied": True}
    path = "/api/v1/namespaces/shop/services/orders?fieldManager=broker-operator"
    assert [(method, where) for method, where, _, _ in server.asked] == [
        ("PATCH", path),
        ("PATCH", f"{path}&force=true"),
    ]
    assert all(content_type == "application/apply-patch+yaml" for *_, content_type in server.asked)
    assert server.asked[0][2] == SERVICE
    assert 'taking back .spec.type of Service/orders: conflict with "kubectl-edit"' in caplog.text


async def test_another_kind_of_conflict_is_not_forced(server: Server, kube: Kube) -> None:
    server.answer(409, status(409, "being deleted"))
    with pytest.raises(Conflict, match="being deleted"):
        await kube.apply(SERVICE)
    assert len(server.asked) == 1


async def test_a_deletion_means_this_object_and_not_its_namesake(server: Server, kube: Kube) -> None:
    server.answer(200)
    server.answer(404, status(404, "gone"))
    found = {**SERVICE, "metadata": {**SERVICE["metadata"], "uid": "u-1"}}  # type: ignore[dict-item]
    await kube.delete(kind_of(found), found)
    await kube.delete(kind_of(found), found)
    assert server.asked[0][2]["preconditions"] == {"uid": "u-1"}


async def test_a_status_goes_to_its_subresource(server: Server, kube: Kube) -> None:
    server.answer(200)
    metadata = {"name": "orders", "namespace": "shop"}
    await kube.apply_status(BROKER_CLUSTER, {"kind": "BrokerCluster", "metadata": metadata, "status": {}})
    assert server.asked[0][1].startswith(
        "/apis/brokercluster.dev/v1alpha1/namespaces/shop/brokerclusters/orders/status?"
    )


async def test_a_kind_is_found_by_discovery(server: Server, kube: Kube) -> None:
    monitor = next(kind for kind in CHILD_KINDS if kind.kind == "ServiceMonitor")
    server.answer(200, {"resources": [{"name": "servicemonitors"}]})
    server.answer(200, {"resources": [{"name": "podmonitors"}]})
    server.answer(404, status(404, "no such group"))
    assert [await kube.serves(monitor) for _ in range(3)] == [True, False, False]


async def test_an_event_is_short_enough_for_the_api(server: Server, kube: Kube) -> None:
    server.answer(201)
    regarding = {"apiVersion": "a/b", "kind": "K", "metadata": {"name": "n", "namespace": "shop", "uid": "u"}}
    await kube.post_event(regarding, warning=True, reason="R", message="x" * 5000, now="2026-01-01T00:00:00Z")
    sent = server.asked[0][2]
    assert len(sent["message"]) == 1024
    assert sent["type"] == "Warning"
    assert sent["involvedObject"]["uid"] == "u"


async def test_the_end_of_a_log_is_text(server: Server, kube: Kube) -> None:
    server.answer(200, "a line\n")
    assert await kube.log("shop", "one", "envoy", lines=5, most_bytes=100) == "a line\n"
    (asked,) = server.asked
    assert asked[1] == "/api/v1/namespaces/shop/pods/one/log?container=envoy&tailLines=5&limitBytes=100"
    server.answer(404, status(404, "gone"))
    with pytest.raises(NotFound, match="gone"):
        await kube.log("shop", "one", "envoy", lines=5, most_bytes=100)
