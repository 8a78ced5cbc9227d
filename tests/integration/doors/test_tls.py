"""TLS and mutual TLS on both doors, and what becomes of files that change."""

import asyncio
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric, metrics
from tests.support.tls import Authority, Pair, write_files
from tests.support.wire import Wire, message, wire

HEALTH = "/grpc.health.v1.Health/Check"
RELOADED, FAILED = "broker_tls_reloads_total{result=ok}", "broker_tls_reloads_total{result=failed}"


def trusting(authority: Authority, pair: Pair | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(authority.certificate, *((pair.key, pair.certificate) if pair else ()))


async def refuses(broker: BrokerProcess, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a call on a new connection fails for want of one."""
    async with wire(broker.address, credentials=credentials) as client:
        failure = await client.failure("Fetch", pb.FetchRequest(subject="nothing", id=1))
    return failure.code is grpc.StatusCode.UNAVAILABLE


async def every_call(client: Wire) -> None:
    subscription = await client.subscribed("greetings")
    assert await client.publish("greetings", b"one") == 1
    assert list((await client.publish_batch([message("greetings", b"two")])).ids) == [2]
    frames = client.publish_stream()
    await frames.send(message("greetings", b"three"))
    answer = await frames.receive()
    assert answer is not None
    assert list(answer.ids) == [3]
    await frames.close()
    assert [one.body for one in await subscription.take(3)] == [b"one", b"two", b"three"]
    batches = await client.subscribed("greetings", batch=True, earliest=True)
    assert [one.id for one in await batches.take(3)] == [1, 2, 3]
    assert (await client.fetch("greetings", 2)).body == b"two"
    assert await client.raw(HEALTH, b"") == b"\x08\x01"


async def test_every_call_over_tls_and_none_without(door: str, authority: Authority, files: Path) -> None:
    options = write_files(files, authority.issue("broker"))
    with BrokerProcess("--store=memory", f"--door={door}", *options) as broker:
        async with wire(broker.address, credentials=trusting(authority)) as client:
            await every_call(client)
        assert await refuses(broker, None)
        assert all(" info broker" in line for line in broker.log.splitlines())
        expiry = await metric(broker, "broker_tls_certificate_expiry_timestamp_seconds{certificate=server}")
        _, certificate = await asyncio.to_thread(shown, broker, authority)
        assert expiry == ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def shown(broker: BrokerProcess, authority: Authority, *versions: ssl.TLSVersion) -> tuple[str, dict[str, object]]:
    """Shake hands; returns the version of TLS and the server's certificate."""
    return handshake(broker, authority, ["h2"], *versions)


def handshake(
    broker: BrokerProcess, authority: Authority, protocols: list[str], *versions: ssl.TLSVersion
) -> tuple[str, dict[str, object]]:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.set_alpn_protocols(protocols)
    if versions:
        (context.minimum_version,) = (context.maximum_version,) = versions
    host, _, port = broker.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() == "h2"
            assert secure.recv(9), "the server ended the connection"
            return str(secure.version()), dict(secure.getpeercert() or {})


async def test_versions_and_protocols(door: str, authority: Authority, files: Path) -> None:
    with BrokerProcess("--store=memory", f"--door={door}", *write_files(files, authority.issue("broker"))) as broker:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            assert (await asyncio.to_thread(shown, broker, authority, version))[0] == name
        with pytest.raises((ssl.SSLError, AssertionError, ConnectionError)):
            await asyncio.to_thread(handshake, broker, authority, ["http/1.1"])
        assert await refuses(broker, grpc.ssl_channel_credentials())


async def test_mutual_tls(door: str, authority: Authority, other_authority: Authority, files: Path) -> None:
    options = write_files(files, authority.issue("broker"), other_authority.certificate)
    with BrokerProcess("--store=memory", f"--door={door}", *options) as broker:
        assert await refuses(broker, None)
        assert await refuses(broker, trusting(authority))
        assert await refuses(broker, trusting(authority, authority.issue("foreigner")))
        async with wire(broker.address, credentials=trusting(authority, other_authority.issue("friend"))) as client:
            await every_call(client)
        series = await asyncio.to_thread(metrics, broker)
        assert "broker_tls_certificate_expiry_timestamp_seconds{certificate=client_ca}" in series
        if door == "native":
            assert series["broker_door_connection_events_total{event=handshake_failed}"] >= 3


async def test_new_files_are_used_without_a_restart(
    door: str, authority: Authority, other_authority: Authority, files: Path
) -> None:
    friend, other_friend = authority.issue("friend"), other_authority.issue("friend")
    options = write_files(files, authority.issue("broker"), authority.certificate)
    with BrokerProcess("--store=memory", f"--door={door}", *options) as broker:
        async with wire(broker.address, credentials=trusting(authority, friend)) as before:
            subscription = await before.subscribed("greetings")

            write_files(files, other_authority.issue("broker"), other_authority.certificate)
            await eventually(lambda: counted(broker, RELOADED, 1), "the files are read anew")
            assert await refuses(broker, trusting(authority, friend))
            assert await refuses(broker, trusting(other_authority, friend))
            async with wire(broker.address, credentials=trusting(other_authority, other_friend)) as after:
                await after.publish("greetings", b"hello")
            assert (await subscription.next()).body == b"hello"  # on the connection of before


async def test_broken_new_files_are_told_once_and_those_before_stay(
    door: str, authority: Authority, files: Path
) -> None:
    pair = authority.issue("broker")
    with BrokerProcess("--store=memory", f"--door={door}", *write_files(files, pair)) as broker:
        write_files(files, Pair(pair.certificate, authority.issue("other").key))
        await eventually(lambda: counted(broker, FAILED, 1), "the files are read anew")
        (files / "data" / "tls.key").unlink()
        await eventually(lambda: counted(broker, FAILED, 2), "the files are read anew")
        errors = [line for line in broker.log.splitlines() if "stay in use" in line]
        assert len(errors) == 2
        assert "it is not the key of the first certificate in" in errors[0]
        assert "cannot be read: No such file or directory" in errors[1]
        async with wire(broker.address, credentials=trusting(authority)) as client:
            await every_call(client)

        write_files(files, authority.issue("broker"))
        await eventually(lambda: counted(broker, RELOADED, 1), "the files are read anew")
        assert not await refuses(broker, trusting(authority))


async def counted(broker: BrokerProcess, series: str, count: int) -> bool:
    return await metric(broker, series) == count


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("no certificate", "tls.crt: it cannot be read: No such file or directory"),
        ("no key", "tls.key: it cannot be read: No such file or directory"),
        ("no authorities", "ca.crt: it cannot be read: No such file or directory"),
        ("text for a certificate", "tls.crt: it has no certificate in PEM"),
        ("text for a key", "tls.key: it has no private key in PEM"),
        ("a damaged certificate", "tls.crt: what it has between BEGIN and END CERTIFICATE is no certificate"),
        ("a damaged key", "OpenSSL cannot use it"),
        ("another's key", "tls.key: it is not the key of the first certificate in"),
        ("an encrypted key", "tls.key: it is encrypted"),
    ],
)
async def test_wrong_files_at_the_start(authority: Authority, files: Path, broken: str, says: str) -> None:
    pair = authority.issue("broker")
    options = write_files(files, pair, authority.certificate)
    data = files / "data"
    match broken:
        case "no certificate":
            (data / "tls.crt").unlink()
        case "no key":
            (data / "tls.key").unlink()
        case "no authorities":
            (data / "ca.crt").unlink()
        case "text for a certificate":
            (data / "tls.crt").write_text("certificate")
        case "text for a key":
            (data / "tls.key").write_bytes(pair.certificate)
        case "a damaged certificate":
            (data / "tls.crt").write_bytes(pair.certificate.replace(b"MII", b"AAA", 1))
        case "a damaged key":
            (data / "tls.key").write_bytes(pair.key.replace(b"MIG", b"AAA", 1))
        case "another's key":
            (data / "tls.key").write_bytes(authority.issue("other").key)
        case "an encrypted key":
            encrypt(data / "tls.key")
    code, said = await start(*options)
    assert code == 1
    assert says in said
    assert said.count("\n") == 1


async def start(*options: str) -> tuple[int | None, str]:
    """Run a broker that must end by itself; returns its exit status and what it said."""
    command = [sys.executable, "-m", "broker", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--store=memory", *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()


def encrypt(key: Path) -> None:
    locked = key.with_suffix(".locked")
    command = ["openssl", "pkey", "-in", key, "-out", locked, "-aes256", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    locked.rename(key)


async def test_a_kind_of_key_that_the_native_door_cannot_use(authority: Authority, files: Path) -> None:
    pytest.importorskip("brokercluster_native", reason="the native door is not built here")
    strange = authority.issue("broker", "-pkeyopt", "ec_paramgen_curve:secp521r1")
    code, said = await start("--door=native", *write_files(files, strange))
    assert code == 1
    assert "Traceback" not in said
    assert "certificate and private key" in said.splitlines()[-1]

    with BrokerProcess("--store=memory", "--door=native", *write_files(files, authority.issue("broker"))) as broker:
        write_files(files, strange)
        await eventually(lambda: counted(broker, FAILED, 1), "the files are read anew")
        assert not await refuses(broker, trusting(authority))
