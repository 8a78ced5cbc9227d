"""gRPC-Web and CORS: what a browser may do, in Chromium and by hand."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from broker.api import broker_pb2 as pb
from tests.support.backend import Backend, running_backend
from tests.support.broker import BrokerProcess
from tests.support.browser import site
from tests.support.clusters import each, limited
from tests.support.envoy import Proxy, caller, running_envoy
from tests.support.keys import keys

PAGE = Path(__file__).with_name("page.html")
HERE = "https://shop.example"


def for_browsers(*origins: str, **proxy: object) -> dict[str, dict[str, object]]:
    """At most 3 calls on each subject, by clients with a key."""
    web = {"allowOrigins": list(origins)}
    rest = {"authentication": {"apiKeys": {"secretName": "keys"}}, "grpcWeb": web, **proxy}
    return {"proxy": {**limited(each(3))["proxy"], **rest}}


async def test_a_page_in_chromium_publishes_and_subscribes() -> None:
    with BrokerProcess("--store=memory") as broker:
        port = int(broker.address.rpartition(":")[2])
        async with site(PAGE) as page:
            spec = for_browsers(page.origin)
            async with running_envoy(spec, [port], secrets={"api-keys": keys(spec, {"page": "sesame"})}) as proxy:
                await proxy.until_healthy(1)
                query = urlencode({"broker": f"http://{proxy.address}", "key": "sesame"})
                found = await page.visit(query)
                assert "grpc-status:0" in found.pop("trailer"), found
                assert int(found.pop("reset")) > 0
                assert found == {"published": 200, "received": "hello", "nobody": "16", "limited": "8"}


async def test_a_page_of_another_origin_can_do_nothing() -> None:
    async with running_backend() as backend, site(PAGE) as page:
        spec = for_browsers("http://other.example")
        async with running_envoy(spec, [backend.port], secrets={"api-keys": keys(spec, {"page": "sesame"})}) as proxy:
            await proxy.until_healthy(1)
            query = urlencode({"broker": f"http://{proxy.address}", "key": "sesame"})
            assert await page.visit(query) == {"error": "TypeError: Failed to fetch"}
            assert backend.calls == []


class Browser:
    """What a page would send, without one."""

    def __init__(self, session: aiohttp.ClientSession, proxy: Proxy) -> None:
        self._session = session
        self._url = f"http://{proxy.address}/broker.Broker/Publish"

    async def publish(self, subject: str, **headers: str) -> tuple[int, str | None]:
        """The HTTP status, and the gRPC status if it is in the headers."""
        message = pb.PublishRequest(subject=subject).SerializeToString()
        body = b"\0" + len(message).to_bytes(4, "big") + message
        if "text" in headers.get("content-type", ""):
            body = base64.b64encode(body)
        sent = {"content-type": "application/grpc-web+proto", "origin": HERE, "x-api-key": "sesame"}
        async with self._session.post(self._url, data=body, headers=sent | headers) as answer:
            await answer.read()
            return answer.status, answer.headers.get("grpc-status")

    async def preflight(self, origin: str) -> str | None:
        """The origin that is allowed."""
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
        async with self._session.options(self._url, headers={"origin": origin, **asked}) as answer:
            if "x-api-key" not in answer.headers.get("access-control-allow-headers", ""):
                return None
            return answer.headers.get("access-control-allow-origin")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with running_backend() as backend:
        yield backend


@pytest.fixture
async def proxy(backend: Backend) -> AsyncIterator[Proxy]:
    spec = for_browsers(HERE, "http://*.local:81")
    async with running_envoy(spec, [backend.port], secrets={"api-keys": keys(spec, {"page": "sesame"})}) as proxy:
        await proxy.until_healthy(1)
        yield proxy


@pytest.fixture
async def browser(proxy: Proxy) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as session:
        yield Browser(session, proxy)


async def test_preflights_are_answered_before_anybody_must_prove_anything(browser: Browser) -> None:
    origins = (HERE, "http://a.b.local:81", "http://a.local", "http://evil.example/.local:81", "https://other.example")
    assert [await browser.preflight(origin) for origin in origins] == [*origins[:2], None, None, None]


async def test_limits_and_authentication_hold(browser: Browser, backend: Backend, proxy: Proxy) -> None:
    assert await browser.publish("a", **{"x-api-key": "wrong"}) == (401, "16")
    assert await browser.publish("a", **{"x-broker-api-key": "forged"}) == (200, None)
    assert backend.headers["x-broker-api-key"] == "page"
    # One bucket for all ways in.
    async with caller(proxy.address) as client:
        await client.publish("a", metadata=(("x-api-key", "sesame"),))
    assert await browser.publish("a", **{"content-type": "application/grpc-web-text+proto"}) == (200, None)
    assert await browser.publish("a") == (429, "8")
    assert len(backend.subjects) == 3


@pytest.mark.parametrize("kind", ["application/grpcfoo", "application/grpc-webber", "application/json", "text/plain"])
async def test_what_is_neither_reaches_no_broker(browser: Browser, backend: Backend, kind: str) -> None:
    assert await browser.publish("a", **{"content-type": kind}) == (404, None)
    assert backend.calls == []


async def test_without_the_option_browsers_are_not_served(backend: Backend) -> None:
    async with running_envoy({}, [backend.port]) as proxy, aiohttp.ClientSession() as session:
        await proxy.until_healthy(1)
        with pytest.raises(aiohttp.ClientError):
            await Browser(session, proxy).publish("a")
    assert backend.calls == []
