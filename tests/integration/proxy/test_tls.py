"""TLS between clients and the proxy: who must show what, who is told to brokers, and change without a restart."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest

from tests.support.backend import Backend, running_backend
from tests.support.envoy import Proxy, caller, running_envoy
from tests.support.tls import Authority, Pair

OPTIONAL = {"secretName": "proxy", "clientCASecretName": "clients", "clientCertificates": "Optional"}
REQUIRED = {"secretName": "proxy", "clientCASecretName": "clients"}


class World:
    """Authorities of the proxy's and of the clients' certificates."""

    def __init__(self, directory: Path, name: str = "old") -> None:
        self.name = f"clients-{name}"
        self.servers = Authority(directory, "servers")
        self.clients = Authority(directory, self.name)
        self.server = self.servers.issue("proxy")

    def secrets(self) -> dict[str, Mapping[str, bytes]]:
        return {"server-tls": server_files(self.server), "client-ca": {"ca.crt": self.clients.certificate}}

    def credentials(self, shown: Pair | None = None) -> grpc.ChannelCredentials:
        pair = (shown.key, shown.certificate) if shown else (None, None)
        return grpc.ssl_channel_credentials(self.servers.certificate, *pair)


def server_files(pair: Pair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("authorities"))


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with running_backend() as backend:
        yield backend


async def refused(address: str, credentials: grpc.ChannelCredentials | None) -> None:
    """The connection is, with whatever words of gRPC."""
    async with caller(address, credentials) as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.publish("a")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_only_tls_is_spoken(world: World, backend: Backend) -> None:
    spec = {"proxy": {"tls": {"secretName": "proxy"}}}
    async with running_envoy(spec, [backend.port], secrets=world.secrets()) as proxy:
        await proxy.until_healthy(1)
        async with caller(proxy.address, world.credentials()) as client:
            assert await client.publish("a") == 1
        await refused(proxy.address, None)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        host, _, port = proxy.address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection, pytest.raises(ssl.SSLError) as error:
            old.wrap_socket(connection)
        assert error.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


async def test_a_certificate_may_have_to_be_shown(world: World, backend: Backend) -> None:
    stranger = world.servers.issue("stranger")
    async with running_envoy({"proxy": {"tls": REQUIRED}}, [backend.port], secrets=world.secrets()) as proxy:
        await proxy.until_healthy(1)
        await refused(proxy.address, world.credentials())
        await refused(proxy.address, world.credentials(stranger))
        async with caller(proxy.address, world.credentials(world.clients.issue("alice"))) as client:
            await client.publish("a")


async def test_brokers_are_told_whose_certificate_it_is(world: World, backend: Backend) -> None:
    async def told(shown: Pair | None, **headers: str) -> str | None:
        async with caller(proxy.address, world.credentials(shown)) as client:
            await client.publish(
                "a", metadata=tuple((name.replace("_", "-"), value) for name, value in headers.items())
            )
        assert "x-broker-other" not in backend.headers
        return backend.headers.get("x-broker-certificate")

    issue = world.clients.issue_to
    async with running_envoy({"proxy": {"tls": OPTIONAL}}, [backend.port], secrets=world.secrets()) as proxy:
        await proxy.until_healthy(1)
        assert await told(None) is None
        both = issue("alice", "URI:spiffe://shop/alice,URI:spiffe://shop/2,DNS:alice.example")
        assert await told(both) == "spiffe://shop/alice"
        assert await told(issue("alice", "DNS:alice.example,DNS:2.example")) == "alice.example"
        assert await told(issue("alice/O=shop", "email:alice@example.com")) == "O=shop,CN=alice"
        # No header can carry it, so it is nobody; it must not fall back to what else is in the certificate.
        assert await told(issue("alice", "URI:spiffe://shop/\x01,DNS:alice.example")) is None
        # One that need not be shown must be good all the same.
        await refused(proxy.address, world.credentials(world.servers.issue("stranger")))


async def test_certificates_and_authorities_change_without_cutting_a_stream(world: World, tmp_path: Path) -> None:
    new = World(tmp_path, "new")
    alice = world.clients.issue("alice")
    async with running_backend() as backend:
        async with running_envoy({"proxy": {"tls": REQUIRED}}, [backend.port], secrets=world.secrets()) as proxy:
            await proxy.until_healthy(1)
            async with caller(proxy.address, world.credentials(alice)) as old_client:
                stream = old_client.subscribe("a")
                await stream.initial_metadata()
                for name, files in new.secrets().items():
                    proxy.secret(name, files)
                await until_shown(proxy, new)
                # Who was trusted before is not any more; who connected then stays.
                await refused(proxy.address, new.credentials(alice))
                async with caller(proxy.address, new.credentials(new.clients.issue("bob"))) as new_client:
                    await new_client.publish("a", b"new")
                await old_client.publish("a", b"old")
                assert [(await stream.read()).body for _ in range(2)] == [b"new", b"old"]
            # Damaged files change nothing.
            proxy.secret("server-tls", {"tls.crt": b"no certificate", "tls.key": b"no key"})
            await proxy.until_stat("sds.server.key_rotation_failed", 1)
            async with caller(proxy.address, new.credentials(new.clients.issue("carol"))) as client:
                await client.publish("a")


async def until_shown(proxy: Proxy, world: World) -> None:
    """Waits until new connections get the certificate of this world, and theirs is checked by its authorities."""
    wanted = ssl.PEM_cert_to_DER_cert(world.server.certificate.decode())
    async with asyncio.timeout(20):
        while shown(proxy) != wanted or world.name not in proxy.admin("/certs"):
            await asyncio.sleep(0.02)


def shown(proxy: Proxy) -> bytes | None:
    """The proxy's certificate. It is there before the proxy finds that ours is missing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = proxy.address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection, context.wrap_socket(connection) as encrypted:
        return encrypted.getpeercert(binary_form=True)
