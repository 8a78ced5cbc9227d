"""Odd and wrong gRPC, by hand: each is refused in the way that the protocol says, and its connection goes on."""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.api import broker_pb2 as pb
from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS, Kind, metric
from tests.support.bystanders import MIB, bystanders
from tests.support.http2 import http2
from tests.support.wire import frame, message

PUBLISH, STREAM, SUBSCRIBE = "/broker.Broker/Publish", "/broker.Broker/PublishStream", "/broker.Broker/Subscribe"
HEALTH = "/grpc.health.v1.Health/Check"
OK, INVALID, DEADLINE, UNIMPLEMENTED, EXHAUSTED, INTERNAL = 0, 3, 4, 12, 8, 13


@pytest.fixture(params=[Kind("memory", door) for door in DOORS], ids=str, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each door; the store makes no difference."""
    found: Kind = request.param
    return found


def published(key: bytes = b"") -> bytes:
    return message("subject", b"body", 0, key=key).SerializeToString()


GOOD = h.grpc_message(published())


def gzipped(data: bytes) -> bytes:
    return h.grpc_message(gzip.compress(data), compressed=True)


@dataclass
class Odd:
    """A request and how it ends, by door."""

    body: bytes
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    path: str = PUBLISH
    grpcio: int | None = None
    """What gRPC's own library says; None: the same."""


GZIP = {"grpc-encoding": "gzip"}
ODD_REQUESTS = {
    "a good one": Odd(GOOD, OK),
    "identity": Odd(GOOD, OK, {"grpc-encoding": "identity"}),
    "compressed": Odd(gzipped(published()), OK, GZIP),
    "compressed to nothing": Odd(gzipped(b""), INVALID, GZIP),
    "not compressed, though it might be": Odd(GOOD, OK, GZIP),
    "in several members": Odd(
        h.grpc_message(gzip.compress(published()[:5]) + gzip.compress(published()[5:]), compressed=True),
        OK,
        GZIP,
        grpcio=-1,
    ),
    "compressed without saying how": Odd(gzipped(published()), INVALID, grpcio=INTERNAL),
    "compressed wrongly": Odd(h.grpc_message(b"no gzip at all", compressed=True), INVALID, GZIP, grpcio=INTERNAL),
    "compressed and cut off": Odd(
        h.grpc_message(gzip.compress(bytes(1000))[:-9], compressed=True), INVALID, GZIP, grpcio=INTERNAL
    ),
    "compressed with zlib": Odd(
        h.grpc_message(zlib.compress(published()), compressed=True),
        UNIMPLEMENTED,
        {"grpc-encoding": "zlib"},
        grpcio=INTERNAL,
    ),
    "an encoding that nobody knows": Odd(GOOD, UNIMPLEMENTED, {"grpc-encoding": "snappy"}, grpcio=INTERNAL),
    "a flag that means nothing": Odd(b"\2" + GOOD[1:], INVALID, GZIP, grpcio=-1),
    "no message": Odd(b"", INVALID, grpcio=-1),
    "two messages": Odd(GOOD * 2, INVALID, grpcio=-1),
    "a message that is cut off": Odd(GOOD[:-1], INVALID, grpcio=-1),
    "a prefix that is cut off": Odd(GOOD[:3], INVALID, grpcio=-1),
    "a message and a half": Odd(GOOD + GOOD[:7], INVALID, grpcio=-1),
    "a message that says 4 GiB": Odd(b"\0\xff\xff\xff\xff", INVALID, grpcio=EXHAUSTED),
    "a method that there is not": Odd(GOOD, UNIMPLEMENTED, path="/broker.Broker/Unpublish"),
    "a service that there is not": Odd(GOOD, UNIMPLEMENTED, path="/other.Broker/Publish"),
    "a path that is none": Odd(GOOD, UNIMPLEMENTED, path="/"),
    "no time": Odd(GOOD, DEADLINE, {"grpc-timeout": "0n"}, grpcio=-1),
    "hardly any time": Odd(GOOD, DEADLINE, {"grpc-timeout": "1n"}, grpcio=-1),
    "the longest time": Odd(GOOD, OK, {"grpc-timeout": "99999999H"}),
    "a time of 9 digits": Odd(GOOD, INVALID, {"grpc-timeout": "123456789S"}, grpcio=-1),
    "a time without unit": Odd(GOOD, INVALID, {"grpc-timeout": "100"}, grpcio=-1),
    "a negative time": Odd(GOOD, INVALID, {"grpc-timeout": "-1S"}, grpcio=-1),
    "a content type with more": Odd(GOOD, OK, {"content-type": "application/grpc+proto"}),
}


@pytest.mark.parametrize("case", ODD_REQUESTS)
async def test_an_odd_request(broker: BrokerProcess, kind: Kind, case: str) -> None:
    odd = ODD_REQUESTS[case]
    expected = odd.status if kind.door == "native" or odd.grpcio is None else odd.grpcio
    if expected == -1:
        pytest.skip("gRPC's own library does as it likes")
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.request(1, odd.path, odd.body, odd.headers))
        reply = await client.reply(1)
        assert reply.status == expected, reply
        assert reply.headers[":status"] == "200"
        assert reply.headers["content-type"].startswith("application/grpc")
        if expected == OK:
            assert pb.PublishResponse.FromString(reply.messages[0]).id > 0
        else:
            assert not reply.body
            assert reply.headers["grpc-message"]
        if expected == UNIMPLEMENTED and odd.headers.get("grpc-encoding") in ("zlib", "snappy"):
            assert "gzip" in reply.headers["grpc-accept-encoding"].replace(" ", "").split(",")
        client.send(h.request(3, PUBLISH, GOOD))
        assert (await client.reply(3)).status == OK, "the connection goes on"


NO_GRPC = {
    "JSON": {"content-type": "application/json"},
    "no content type": {"content-type": ""},
    "a browser": {":method": "GET", "content-type": ""},
}


@pytest.mark.parametrize("case", NO_GRPC)
async def test_requests_that_are_no_grpc(broker: BrokerProcess, kind: Kind, case: str) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.request(1, PUBLISH, GOOD, NO_GRPC[case]))
        reply = await client.reply(1)
        if kind.door == "native":
            assert reply.headers[":status"] == "415"
        client.send(h.request(3, PUBLISH, GOOD))
        assert (await client.reply(3)).status == OK


async def test_a_stream_ends_within_a_message(broker: BrokerProcess, kind: Kind) -> None:
    """What came before is answered."""
    whole = h.grpc_message(frame([message("subject")]))
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.request(1, STREAM), h.data(1, whole))
        await client.until(lambda: client.replies[1].messages, "the first frame is answered")
        client.send(h.data(1, whole[:-1], end=True))
        reply = await client.reply(1)
        assert len(reply.messages) == 1
        if kind.door == "native":
            assert reply.status == INVALID


async def test_a_call_that_expires_while_its_request_comes(broker: BrokerProcess) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        for stream, path in ((1, PUBLISH), (3, STREAM), (5, SUBSCRIBE)):
            client.send(h.request(stream, path, headers={"grpc-timeout": "50m"}), h.data(stream, GOOD[:4]))
        for stream in (1, 3, 5):
            reply = await client.reply(stream)
            assert reply.status == DEADLINE or reply.reset is not None
        client.send(h.request(7, HEALTH, h.grpc_message(b"")))
        assert (await client.reply(7)).status == OK


async def test_a_request_that_does_not_come_to_its_end(kind: Kind, tmp_path: Path) -> None:
    if kind.door != "native":
        pytest.skip("the C core waits for ever")
    with kind.process(tmp_path, "--request-timeout=0.2") as broker:
        async with http2(broker.address) as client:
            for stream, path in ((1, PUBLISH), (3, SUBSCRIBE)):
                client.send(h.request(stream, path), h.data(stream, GOOD[:4]))
                assert (await client.reply(stream)).status == DEADLINE
            stream = 5
            client.send(h.request(stream, STREAM), h.data(stream, h.grpc_message(frame([message("subject")]))))
            await client.until(lambda: client.replies[stream].messages, "a stream may stay as long as it likes")
        assert await metric(broker, "broker_door_refused_total{reason=too_slow}") == 2
