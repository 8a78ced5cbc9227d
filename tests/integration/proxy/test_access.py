"""API keys and tokens: who gets in, who is told to brokers, and change without a restart."""

import asyncio
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from broker_operator.api import parse
from broker_operator.render import envoy
from tests.support.backend import Backend, running_backend
from tests.support.clusters import authenticated, each, limited, manifest
from tests.support.envoy import Caller, Proxy, caller, places, running_envoy
from tests.support.keys import keys
from tests.support.tls import Authority, Pair
from tests.support.tokens import Issuer

KEYS = {"secretName": "keys"}
CLIENTS = {"bob": "bobs-key", "carol": "carols-key"}
BOB = ("x-api-key", "bobs-key")
WRONG = ("x-api-key", "wrong")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


def tokens(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {"issuer": "https://issuer.example", "audiences": ["orders"], "jwks": {"inline": issuer.jwks}, **more}


def bearer(issuer: Issuer, *arguments: Any, **claims: Any) -> tuple[str, str]:
    return ("authorization", f"Bearer {issuer.token(*arguments, **{'aud': 'orders', **claims})}")


class Door:
    """A proxy with a backend behind it."""

    def __init__(self, proxy: Proxy, client: Caller, backend: Backend) -> None:
        self.proxy = proxy
        self.client = client
        self.backend = backend

    async def told(self, *headers: tuple[str, str], subject: str = "a") -> dict[str, str]:
        """What a broker is told of who publishes with these headers."""
        await self.client.publish(subject, metadata=headers)
        return {
            name: value
            for name, value in self.backend.headers.items()
            if name in ("x-broker-token", "x-broker-api-key", "x-broker-certificate", "authorization", "x-api-key")
        }

    async def refused(self, *headers: tuple[str, str]) -> str:
        """Why they are not enough."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.client.publish("a", metadata=headers)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        return error.value.details() or ""


@asynccontextmanager
async def door(
    spec: Mapping[str, Any], clients: Mapping[str, str] | None = None, system_ca: bytes | None = None
) -> AsyncIterator[Door]:
    secrets = {"api-keys": keys(spec, clients)} if clients else {}
    if system_ca:
        secrets["system-ca"] = {"ca.crt": system_ca}
    async with running_backend() as backend, running_envoy(spec, [backend.port], secrets=secrets) as proxy:
        await proxy.until_healthy(1)
        async with caller(proxy.address) as client:
            yield Door(proxy, client, backend)


async def test_a_key_names_the_client() -> None:
    async with door(authenticated(apiKeys=KEYS), CLIENTS) as at:
        assert await at.told(BOB, ("x-broker-api-key", "carol")) == {"x-broker-api-key": "bob"}
        for headers in ((), (WRONG,), (("x-api-key", ""),), (("x-broker-api-key", "bob"),), (("x-api-key", "bob"),)):
            assert await at.refused(*headers) == "Client authentication failed."


async def test_keys_change_without_cutting_a_stream() -> None:
    spec = authenticated(apiKeys={**KEYS, "header": "x-orders-key"})
    old, new = ("x-orders-key", "bobs-key"), ("x-orders-key", "daves-key")
    async with door(spec, CLIENTS) as at:
        stream = at.client.subscribe("a", metadata=(old,))
        await stream.initial_metadata()
        at.proxy.secret("api-keys", keys(spec, {"dave": "daves-key"}))
        async with asyncio.timeout(20):
            while not await admitted(at, new):
                await asyncio.sleep(0.02)
        assert await at.refused(old)
        await at.client.publish("a", b"still here", metadata=(new,))
        assert (await stream.read()).body == b"still here"
        # Nobody: a Secret without entries.
        at.proxy.secret("api-keys", keys(spec, {}))
        async with asyncio.timeout(20):
            while await admitted(at, new):
                await asyncio.sleep(0.02)


async def admitted(at: Door, key: tuple[str, str]) -> bool:
    try:
        await at.client.publish("other", metadata=(key,))
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False
    return True


async def test_no_key_is_in_the_files_of_the_config_map(tmp_path: Path) -> None:
    files = envoy.files(parse(manifest(authenticated(apiKeys=KEYS))), places(tmp_path), "/etc/envoy")
    assert '"credentials": []' in json.dumps(files)


async def test_a_token_names_the_client_and_does_not_reach_brokers(issuer: Issuer) -> None:
    async with door(authenticated(jwt=tokens(issuer))) as at:
        assert await at.told(bearer(issuer, "alice"), ("x-broker-token", "forged")) == {"x-broker-token": "alice"}
        assert await at.told(bearer(issuer, 'a, b; c="d"')) == {"x-broker-token": 'a, b; c="d"'}
        assert await at.told(bearer(issuer, "alice", aud=["others", "orders"])) == {"x-broker-token": "alice"}
        # What no header can carry is nobody.
        for subject in ("a\nx-broker-token: root", "\0", "", None):
            assert await at.told(bearer(issuer, subject)) == {}


async def test_a_token_that_is_not_good_is_refused(issuer: Issuer, tmp_path: Path) -> None:
    async with door(authenticated(jwt=tokens(issuer))) as at:
        assert await at.refused() == "Jwt is missing"
        assert await at.refused(("x-broker-token", "alice")) == "Jwt is missing"
        assert await at.refused(bearer(issuer, seconds=-3600)) == "Jwt is expired"
        assert await at.refused(bearer(issuer, iss="https://other.example")) == "Jwt issuer is not configured"
        assert await at.refused(bearer(Issuer(tmp_path))) == "Jwt verification fails"
        assert "not in the form" in await at.refused(("authorization", "Bearer rubbish"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await at.told(bearer(issuer, aud="others"))
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_either_is_enough_and_neither_is_not(issuer: Issuer) -> None:
    async with door(authenticated(apiKeys=KEYS, jwt=tokens(issuer)), CLIENTS) as at:
        token = bearer(issuer, "alice")
        assert await at.told(BOB) == {"x-broker-api-key": "bob"}
        assert await at.told(token) == {"x-broker-token": "alice"}
        assert (await at.told(BOB, token))["x-broker-api-key"] == "bob"
        for headers in ((), (WRONG,), (WRONG, token), (("x-api-key", ""), token), (("authorization", "Bearer x"),)):
            assert await at.refused(*headers)
        assert at.backend.calls == ["Publish"] * 3


async def test_health_is_open_and_nothing_else(issuer: Issuer) -> None:
    async with door(authenticated(apiKeys=KEYS, jwt=tokens(issuer)), CLIENTS) as at:
        assert await at.client.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
        for path in (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/broker.Broker/Fetch",
            "/broker.Broker/SubscribeBatch",
            "/broker.Broker/Publish?x=/grpc.health.v1.Health/Check",
            "/other",
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await at.client.raw(path, b"")
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED, path


async def test_who_is_refused_takes_nothing_of_a_limit() -> None:
    spec = {"proxy": {**limited(each(2))["proxy"], **authenticated(apiKeys=KEYS)["proxy"]}}
    async with door(spec, CLIENTS) as at:
        for _ in range(5):
            await at.refused(WRONG)
        assert await at.told(BOB)
        assert await at.told(BOB)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await at.told(BOB)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class KeyServer:
    """Serves an issuer's keys, or fails."""

    def __init__(self) -> None:
        self.jwks: str | None = None
        self.asked = 0
        self.uri = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(text=self.jwks) if self.jwks else web.Response(status=500)


@asynccontextmanager
async def key_server(certificate: Pair | None = None) -> AsyncIterator[KeyServer]:
    server = KeyServer()
    application = web.Application()
    application.add_routes([web.get("/keys", server.answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate and server_context(certificate))
    await listening.start()
    server.uri = f"{'https' if certificate else 'http'}://localhost:{runner.addresses[0][1]}/keys"
    try:
        yield server
    finally:
        await runner.cleanup()


def server_context(certificate: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(certificate.certificate + certificate.key)
        context.load_cert_chain(file.name)
    return context


async def until_admitted(at: Door, key: tuple[str, str]) -> None:
    async with asyncio.timeout(30):
        while not await admitted(at, key):
            await asyncio.sleep(0.05)


async def test_the_keys_of_tokens_are_fetched_and_may_change(issuer: Issuer, tmp_path: Path) -> None:
    other = Issuer(tmp_path, key_id="2")
    async with key_server() as server:
        jwks = {"uri": server.uri, "cacheSeconds": 1}
        async with door(authenticated(jwt=tokens(issuer, jwks=jwks))) as at:
            # While they cannot be had, the proxy serves whom it can: here only health.
            assert await at.client.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
            assert await at.refused(bearer(issuer, "alice"))
            for served, unknown in ((issuer, other), (other, issuer)):
                server.jwks = served.jwks
                await until_admitted(at, bearer(served))
                assert await at.refused(bearer(unknown))


async def test_keys_are_fetched_only_from_whom_the_system_trusts(issuer: Issuer, tmp_path: Path) -> None:
    trusted, other = Authority(tmp_path, "trusted"), Authority(tmp_path, "other")
    for authority in (trusted, other):
        async with key_server(authority.issue("issuer")) as server:
            server.jwks = issuer.jwks
            spec = authenticated(jwt=tokens(issuer, jwks={"uri": server.uri}))
            async with door(spec, system_ca=trusted.certificate) as at:
                if authority is trusted:
                    await until_admitted(at, bearer(issuer, "alice"))
                else:
                    await at.proxy.until_stat("cluster.jwks.ssl.fail_verify_error", 1)
                    assert await at.refused(bearer(issuer, "alice"))
                    assert server.asked == 0
