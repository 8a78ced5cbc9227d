"""Clients that misuse HTTP/2 by hand: others are served, memory stays bounded, and nothing is left of them."""

import asyncio
import random
import socket
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from broker.api import broker_pb2 as pb
from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import NATIVE, Kind, eventually, metric
from tests.support.bystanders import MIB, bystanders
from tests.support.http2 import Http2, http2
from tests.support.wire import frame, message, wire

PUBLISH, FETCH = "/broker.Broker/Publish", "/broker.Broker/Fetch"
STREAM, SUBSCRIBE = "/broker.Broker/PublishStream", "/broker.Broker/Subscribe"
MAX_STREAMS = 4096

pytestmark = pytest.mark.skipif(not NATIVE, reason="what other doors bear is their libraries' own affair")


@pytest.fixture(scope="module")
def kind() -> Kind:
    """The native door; the store makes no difference."""
    return Kind("memory", "native")


def body(subject: str, size: int = 0) -> bytes:
    return h.grpc_message(message(subject, bytes(size), 0).SerializeToString())


def in_a_stream(subject: str) -> bytes:
    """A frame of PublishStream."""
    return h.grpc_message(frame([message(subject, b"", 0)]))


@asynccontextmanager
async def flooding(broker: BrokerProcess) -> AsyncIterator[Http2]:
    """A connection that the door ends as abusive.

    The reason may not reach a client that goes on sending: TCP throws it away with what was not read.
    """
    series = "broker_door_connection_events_total{event=abusive}"
    before = await metric(broker, series)
    async with http2(broker.address) as client:
        yield client
        assert await client.end() in (h.ENHANCE_YOUR_CALM, None)
        assert await metric(broker, series) == before + 1


async def test_calls_that_are_reset_at_once(broker: BrokerProcess, subject: str) -> None:
    """CVE-2023-44487."""
    block = h.header_block(PUBLISH)

    def resets() -> Iterator[bytes]:
        for stream in range(1, 200_001, 2):
            yield h.frame(h.HEADERS, h.END_HEADERS, stream, block) + h.reset(stream)

    async with bystanders(broker, 64 * MIB), flooding(broker) as client:
        await client.flood(resets())


async def test_calls_that_are_reset_in_a_write_of_their_own(broker: BrokerProcess, subject: str) -> None:
    async with bystanders(broker, 64 * MIB), flooding(broker) as client:
        for stream in range(1, 40_001, 2):
            client.send(h.request(stream, PUBLISH, body(subject)))
            await client.flush()
            client.send(h.reset(stream))
            await client.flush()
            if client.closed:
                break


FLOODS: dict[str, bytes] = {
    "PING": h.frame(h.PING, 0, 0, bytes(8)),
    "SETTINGS": h.frame(h.SETTINGS, 0, 0),
    "SETTINGS that change the window": h.frame(h.SETTINGS, 0, 0, b"\x00\x04\x00\x00\x10\x00"),
    "PRIORITY": h.frame(h.PRIORITY, 0, 1, b"\x00\x00\x00\x03\x00"),
    "unknown": h.frame(h.UNKNOWN, 0, 0),
    "empty DATA": h.frame(h.DATA, 0, 1),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_frames_that_bring_nothing(broker: BrokerProcess, subject: str, case: str) -> None:
    async with bystanders(broker, 64 * MIB), flooding(broker) as client:
        client.send(h.request(1, STREAM))
        await client.flood([FLOODS[case]] * 200_000)


async def test_window_updates_without_end(broker: BrokerProcess, subject: str) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.request(1, SUBSCRIBE, h.grpc_message(message(subject).SerializeToString())))
        await client.flood([h.window_update(0, 1), h.window_update(1, 1)] * 100_000)


async def test_headers_without_end(broker: BrokerProcess, subject: str) -> None:
    """CVE-2024-27316: a header block that goes on in CONTINUATION frames."""
    field = b"\x00\x01a\x7f\x81\x7e" + b"x" * 16_000

    def block() -> Iterator[bytes]:
        yield h.frame(h.HEADERS, 0, 1, h.header_block(PUBLISH))
        for _ in range(10_000):
            yield h.frame(h.CONTINUATION, 0, 1, field)

    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        sent = await client.flood(block())
        assert sent < 10_000
        await client.end()


async def test_headers_in_frames_that_are_empty(broker: BrokerProcess, subject: str) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.frame(h.HEADERS, 0, 1))
        await client.flood([h.frame(h.CONTINUATION, 0, 1)] * 200_000)
        await client.end()


async def test_more_headers_than_allowed(broker: BrokerProcess, subject: str) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        for stream in range(1, 201, 2):
            client.send(h.frame(h.HEADERS, 0, stream, h.header_block(PUBLISH)))
            for number in range(3):
                field = b"\x00\x01%c\x7f\x81\x7d" % (97 + number) + b"x" * 16_000
                client.send(h.frame(h.CONTINUATION, h.END_HEADERS if number == 2 else 0, stream, field))
        replies = [await client.reply(stream) for stream in range(1, 201, 2)]
        assert not [reply for reply in replies if reply.status == 0]


async def test_a_table_of_headers_that_swells(broker: BrokerProcess, subject: str) -> None:
    """Each byte after the first block stands for 4,000 (the HPACK bomb)."""
    field = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        client.send(h.frame(h.HEADERS, h.END_HEADERS, 1, h.header_block(PUBLISH) + field))
        for stream in range(3, 203, 2):
            client.send(h.frame(h.HEADERS, h.END_HEADERS, stream, h.header_block(PUBLISH) + b"\xbe" * 10_000))
        replies = [await client.reply(stream) for stream in range(3, 203, 2)]
        assert not [reply for reply in replies if reply.status == 0]


async def test_answers_that_the_client_has_no_window_for(broker: BrokerProcess, subject: str) -> None:
    """A thousand times a megabyte is asked for; what waits is bounded, and those above the bound are refused."""
    async with wire(broker.address) as publisher:
        message_id = await publisher.publish(subject, random.randbytes(1_000_000))
    fetch = h.grpc_message(pb.FetchRequest(subject=subject, id=message_id).SerializeToString())
    # Without a bound it would be a gigabyte more; 128 MiB may wait.
    async with bystanders(broker, 400 * MIB), http2(broker.address, {h.INITIAL_WINDOW_SIZE: 0}) as client:
        streams = range(1, 2001, 2)
        client.send(*[h.request(stream, FETCH, fetch) for stream in streams])
        refused = "broker_door_refused_total{reason=too_many_answer_bytes}"
        await client.until(lambda: sum(client.replies[one].status == 8 for one in streams) > 800, "most are refused")
        assert await metric(broker, refused) > 800
        assert await metric(broker, "broker_door_queued_bytes") < 160 * MIB
        # One of those that wait gets its window, and is answered.
        waiting = next(stream for stream in streams if not client.replies[stream].ended)
        client.send(h.window_update(0, 2_000_000), h.window_update(waiting, 2_000_000))
        reply = await client.reply(waiting)
        assert reply.status == 0
        assert len(pb.Message.FromString(reply.messages[0]).body) == 1_000_000


async def test_subscribers_that_have_no_window_or_do_not_read(broker: BrokerProcess, subject: str) -> None:
    subscribe = h.grpc_message(pb.SubscribeRequest(subject=subject).SerializeToString())
    async with bystanders(broker, 256 * MIB), AsyncExitStack() as stack:
        for number in range(20):
            closed = {h.INITIAL_WINDOW_SIZE: 0 if number % 2 else 1 << 30}
            client = await stack.enter_async_context(http2(broker.address, closed, reads=number % 4 < 2))
            client.send(h.window_update(0, 1 << 30), *[h.request(2 * at + 1, SUBSCRIBE, subscribe) for at in range(20)])
            await client.flush()

        async def all_stand() -> bool:
            return await metric(broker, "broker_subscriptions") >= 400

        await eventually(all_stand, "400 subscriptions stand")
        async with wire(broker.address) as publisher:
            for _ in range(60):
                await publisher.publish_batch([message(subject, random.randbytes(20_000))] * 20)


@pytest.mark.parametrize("path", [PUBLISH, STREAM])
async def test_thousands_of_requests_that_never_end(broker: BrokerProcess, path: str, subject: str) -> None:
    """As many as a connection may have, on several; each has sent a byte of its message."""
    async with bystanders(broker, 256 * MIB), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(http2(broker.address)) for _ in range(4)]
        for client in clients:
            streams = range(1, 2 * MAX_STREAMS, 2)
            await client.flood(h.request(stream, path) + h.data(stream, b"\0") for stream in streams)
            await client.pong()
            assert not client.closed
        above = 2 * MAX_STREAMS + 1
        clients[0].send(h.request(above, path))
        assert (await clients[0].reply(above)).reset == h.REFUSED_STREAM


async def test_large_requests_that_never_end(broker: BrokerProcess, subject: str) -> None:
    """They get all the memory that waiting requests may take together, and others are served all the same."""
    almost = body(subject, 4_000_000)[:-1]
    limit = 128 * MIB
    async with bystanders(broker, 256 * MIB), http2(broker.address) as client, http2(broker.address) as other:
        left = limit
        for stream in count(1, 2):
            client.send(h.request(stream, PUBLISH))
            await client.upload(stream, almost[:left], end=False)
            left -= len(almost)
            if left <= 0:
                break
        await client.pong()
        assert await metric(broker, "broker_door_waiting_bytes") >= limit
        other.send(h.request(1, STREAM), h.data(1, in_a_stream(subject)))
        await other.until(lambda: other.replies[1].messages, "a stream is served too")
        assert not client.ended


async def test_bodies_that_come_byte_by_byte(broker: BrokerProcess, subject: str) -> None:
    whole = body(subject, 200)
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        streams = range(1, 101, 2)
        client.send(*[h.request(stream, PUBLISH) for stream in streams])
        await client.flood(h.data(stream, whole[at : at + 1]) for at in range(len(whole)) for stream in streams)
        client.send(*[h.data(stream, b"", end=True) for stream in streams])
        assert {(await client.reply(stream)).status for stream in streams} == {0}


async def test_one_byte_kept_of_every_read(broker: BrokerProcess, subject: str) -> None:
    """A byte that waits must not keep all that was read with it."""
    padding = h.frame(h.UNKNOWN, 0, 0, bytes(h.MAX_FRAME))
    async with bystanders(broker, 64 * MIB), AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(http2(broker.address))
            streams = range(1, 2 * MAX_STREAMS, 2)
            await client.flood(h.request(stream, PUBLISH) + h.data(stream, b"\0") + padding for stream in streams)
            await client.pong()


async def test_tiny_frames_on_streams_that_are_held_back(broker: BrokerProcess, subject: str) -> None:
    """What a held back client may still send, in as many frames as possible."""
    async with bystanders(broker, 128 * MIB), AsyncExitStack() as stack:
        for _ in range(4):
            # No window: the answers cannot leave, so the requests are held back.
            client = await stack.enter_async_context(http2(broker.address, {h.INITIAL_WINDOW_SIZE: 0}))
            for stream in (1, 3, 5, 7):
                client.send(h.request(stream, STREAM), *[h.data(stream, in_a_stream(subject))] * 16)
                await client.flood([h.data(stream, b"\0")] * 60_000)
            await client.pong()


async def test_more_than_the_window_allows(broker: BrokerProcess, subject: str) -> None:
    async with bystanders(broker, 64 * MIB), http2(broker.address, {h.INITIAL_WINDOW_SIZE: 0}) as client:
        client.send(h.request(1, STREAM), *[h.data(1, in_a_stream(subject))] * 16)
        for _ in range(1000):
            client.send(h.data(1, bytes(MIB)))
            await client.flush()
            if client.closed or client.replies[1].ended:
                break
        await client.until(lambda: client.closed or client.replies[1].reset is not None, "the client is stopped")
        # The reason is lost, mostly, with what was sent and not read.
        assert client.goaway in (h.FLOW_CONTROL_ERROR, None)
        assert client.replies[1].reset in (h.FLOW_CONTROL_ERROR, None)


async def test_a_stream_whose_answers_are_never_read(broker: BrokerProcess, subject: str) -> None:
    """Frames for as long as there is window: the client is held back, not the broker filled."""
    one = h.data(1, h.grpc_message(frame([message("")] * 500)))
    async with (
        bystanders(broker, 96 * MIB),
        http2(broker.address, {h.INITIAL_WINDOW_SIZE: 1000}, generous=False) as client,
    ):
        client.send(h.request(1, STREAM))
        window = 65_535
        while window >= len(one):
            client.send(one)
            window -= len(one)
        await client.pong()
        assert not client.closed


def gzip(data: Iterable[bytes]) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    return b"".join([*map(pack.compress, data), pack.flush()])


async def test_a_gigabyte_in_a_megabyte(broker: BrokerProcess, subject: str) -> None:
    bomb = h.grpc_message(gzip([bytes(MIB)] * 1024), compressed=True)
    assert len(bomb) < 2 * MIB
    async with bystanders(broker, 96 * MIB), http2(broker.address) as client:
        for at in range(4):
            client.send(h.request(2 * at + 1, PUBLISH, headers={"grpc-encoding": "gzip"}))
            await client.upload(2 * at + 1, bomb)
            reply = await client.reply(2 * at + 1)
            assert reply.status == 3


PRELUDES = {
    "nothing": b"",
    "half a preface": h.PREFACE[:12],
    "a preface and nothing": h.PREFACE,
    "half a frame": h.PREFACE + h.frame(h.SETTINGS, 0, 0)[:5],
}


async def test_clients_that_never_say_hello(kind: Kind, tmp_path: Path) -> None:
    """The native door hangs up on them: when they have not said who they are, or when they do not answer its pings."""
    with kind.process(tmp_path, "--keepalive-time=1", "--keepalive-timeout=1") as broker:
        host, _, port = broker.address.rpartition(":")
        async with bystanders(broker, 64 * MIB):
            strangers = [socket.create_connection((host, int(port))) for _ in range(200)]
            for stranger, prelude in zip(strangers, [*PRELUDES.values()] * 50, strict=True):
                stranger.setblocking(False)
                stranger.sendall(prelude)
            await asyncio.gather(*map(hung_up_on, strangers))
            assert await metric(broker, "broker_door_connections") <= 1
            assert await metric(broker, "broker_door_connection_events_total{event=handshake_failed}") == 100
            assert await metric(broker, "broker_door_connection_events_total{event=dead}") == 100
            for stranger in strangers:
                stranger.close()


async def hung_up_on(stranger: socket.socket) -> None:
    while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(stranger, 1000), 30):
        pass


async def test_everything_at_once_by_many(broker: BrokerProcess, subject: str) -> None:
    """Frames by chance, right and wrong, from connections that come and go."""
    chance = random.Random(5)
    kinds = range(12)

    def any_frame() -> bytes:
        stream = chance.choice([0, 1, 1, 3, 3, 5, 2, 2**31 - 1])
        if chance.random() < 0.4:
            path = chance.choice([PUBLISH, FETCH, STREAM, SUBSCRIBE])
            return h.request(stream, path, chance.choice([None, b"", body(subject), chance.randbytes(20)]))
        return h.frame(chance.choice(kinds), chance.randrange(256), stream, chance.randbytes(chance.randrange(30)))

    async def one(number: int) -> None:
        async with http2(broker.address, reads=number % 3 > 0) as client:
            client.send(*[any_frame() for _ in range(chance.randrange(1, 20))])
            await client.flush()
            if number % 3 > 1:
                await client.pong()

    async with bystanders(broker, 64 * MIB):
        for _ in range(20):
            await asyncio.gather(*map(one, range(50)))


async def test_small_frames_far_ahead_of_their_answers(broker: BrokerProcess, subject: str) -> None:
    """No abuse: a client that has as much under way as its window allows is held back, and then answered."""
    one = h.data(1, in_a_stream(subject))
    count = 200_000 // (len(one) - 9)
    async with bystanders(broker, 64 * MIB), http2(broker.address, {h.INITIAL_WINDOW_SIZE: 0}) as client:
        client.send(h.request(1, STREAM))
        await client.pong()
        client.send(*[one] * count)
        await client.pong()
        client.send(h.window_update(1, 1 << 30), h.data(1, b"", end=True))
        reply = await client.reply(1)
        assert (reply.status, len(reply.messages)) == (0, count), (client.goaway, reply.headers)


async def test_calls_that_are_refused_while_their_requests_still_come(broker: BrokerProcess, subject: str) -> None:
    """No abuse: the client has not heard of the refusal yet. However often it happens, its connection stands."""
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        for turn in range(20):
            streams = range(turn * 200 + 1, turn * 200 + 201, 2)
            client.send(*[h.request(stream, PUBLISH, headers={"grpc-timeout": "never"}) for stream in streams])
            assert {(await client.reply(stream)).status for stream in streams} == {3}
            client.send(*[h.data(stream, body(subject), end=True) for stream in streams])
        client.send(h.request(9001, PUBLISH, body(subject)))
        assert (await client.reply(9001)).status == 0, client.goaway


async def test_calls_that_are_given_up_before_anybody_looks(broker: BrokerProcess, subject: str) -> None:
    """No abuse: a client that starts a hundred calls and is told to stop."""
    block = h.header_block(PUBLISH)
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        streams = range(1, 201, 2)
        client.send(*[h.frame(h.HEADERS, h.END_HEADERS, one, block) + h.reset(one) for one in streams])
        client.send(h.request(9001, PUBLISH, body(subject)))
        assert (await client.reply(9001)).status == 0, client.goaway
