"""Wrong HTTP/2, by hand: it ends the stream or the connection, and nobody else notices."""

from dataclasses import dataclass

import pytest

from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import NATIVE, Kind
from tests.support.bystanders import MIB, bystanders
from tests.support.http2 import http2
from tests.support.wire import message

PUBLISH, STREAM, SUBSCRIBE = "/broker.Broker/Publish", "/broker.Broker/PublishStream", "/broker.Broker/Subscribe"
GOOD = h.grpc_message(message("subject", b"body", 0).SerializeToString())
BLOCK = h.header_block(PUBLISH)
OK = 0

pytestmark = pytest.mark.skipif(not NATIVE, reason="what other doors bear is their libraries' own affair")


@pytest.fixture(scope="module")
def kind() -> Kind:
    """The native door; the store makes no difference."""
    return Kind("memory", "native")


@dataclass
class Wrong:
    """Frames that must not be borne, and what is said of them; of a connection it may always be PROTOCOL_ERROR."""

    frames: bytes
    code: int


CONNECTION_ERRORS = {
    "DATA on the connection": Wrong(h.frame(h.DATA, 0, 0, b"x"), h.PROTOCOL_ERROR),
    "HEADERS on the connection": Wrong(h.frame(h.HEADERS, h.END_HEADERS, 0, BLOCK), h.PROTOCOL_ERROR),
    "a stream of the server's": Wrong(h.request(2, PUBLISH, GOOD), h.PROTOCOL_ERROR),
    "a stream before the last": Wrong(h.request(5, PUBLISH, GOOD) + h.request(3, PUBLISH, GOOD), h.PROTOCOL_ERROR),
    "DATA before HEADERS": Wrong(h.data(9, b"x"), h.PROTOCOL_ERROR),
    "RST_STREAM before HEADERS": Wrong(h.reset(9), h.PROTOCOL_ERROR),
    "WINDOW_UPDATE before HEADERS": Wrong(h.window_update(9, 1), h.PROTOCOL_ERROR),
    "a frame in a header block": Wrong(
        h.frame(h.HEADERS, 0, 1, BLOCK) + h.frame(h.PING, 0, 0, bytes(8)), h.PROTOCOL_ERROR
    ),
    "CONTINUATION of nothing": Wrong(h.frame(h.CONTINUATION, 0, 1, BLOCK), h.PROTOCOL_ERROR),
    "PUSH_PROMISE": Wrong(
        h.request(1, STREAM) + h.frame(h.PUSH_PROMISE, h.END_HEADERS, 1, bytes(4) + BLOCK), h.PROTOCOL_ERROR
    ),
    "SETTINGS of 5 bytes": Wrong(h.frame(h.SETTINGS, 0, 0, bytes(5)), h.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": Wrong(h.frame(h.SETTINGS, 0, 1), h.PROTOCOL_ERROR),
    "SETTINGS with a huge window": Wrong(h.frame(h.SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"), h.FLOW_CONTROL_ERROR),
    "PING of 7 bytes": Wrong(h.frame(h.PING, 0, 0, bytes(7)), h.FRAME_SIZE_ERROR),
    "PING on a stream": Wrong(h.frame(h.PING, 0, 1, bytes(8)), h.PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": Wrong(h.frame(h.RST_STREAM, 0, 1, bytes(3)), h.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of nothing": Wrong(h.window_update(0, 0), h.PROTOCOL_ERROR),
    "WINDOW_UPDATE beyond the largest": Wrong(h.window_update(0, 2**31 - 1) * 2, h.FLOW_CONTROL_ERROR),
    "a frame above the largest size": Wrong(
        h.request(1, STREAM) + h.frame(h.DATA, 0, 1, bytes(20_000)), h.FRAME_SIZE_ERROR
    ),
    "headers that are no HPACK": Wrong(
        h.frame(h.HEADERS, h.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), h.COMPRESSION_ERROR
    ),
    "padding above the size": Wrong(h.request(1, STREAM) + h.frame(h.DATA, 0x8, 1, b"\xff\0"), h.PROTOCOL_ERROR),
    "WINDOW_UPDATE of nothing on a stream": Wrong(h.request(1, STREAM) + h.window_update(1, 0), h.PROTOCOL_ERROR),
    "DATA after the end": Wrong(
        h.request(1, SUBSCRIBE, h.grpc_message(b"\x0a\x01s")) + h.data(1, b"x"), h.STREAM_CLOSED
    ),
    "a name in upper case": Wrong(h.frame(h.HEADERS, h.END_HEADERS, 1, BLOCK + b"\x00\x01A\x01x"), (h.PROTOCOL_ERROR,)),
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
async def test_what_ends_the_connection(broker: BrokerProcess, case: str) -> None:
    wrong = CONNECTION_ERRORS[case]
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        await client.pong()
        client.send(wrong.frames)
        assert await client.end() in (wrong.code, h.PROTOCOL_ERROR)


STREAM_ERRORS = {
    "WINDOW_UPDATE beyond the largest": Wrong(
        h.request(1, STREAM) + h.window_update(1, 2**31 - 1), h.FLOW_CONTROL_ERROR
    ),
    "no path": Wrong(h.request(1, PUBLISH, GOOD, {":path": ""}), h.PROTOCOL_ERROR),
    "no method": Wrong(h.request(1, PUBLISH, GOOD, {":method": ""}), h.PROTOCOL_ERROR),
    "no scheme": Wrong(h.request(1, PUBLISH, GOOD, {":scheme": ""}), h.PROTOCOL_ERROR),
    "a connection header": Wrong(h.request(1, PUBLISH, GOOD, {"connection": "close"}), h.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", STREAM_ERRORS)
async def test_what_ends_the_stream(broker: BrokerProcess, case: str) -> None:
    wrong = STREAM_ERRORS[case]
    async with bystanders(broker, 64 * MIB), http2(broker.address) as client:
        await client.pong()
        client.send(wrong.frames)
        assert (await client.reply(1)).reset == wrong.code
        client.send(h.request(3, PUBLISH, GOOD))
        assert (await client.reply(3)).status == OK, client.goaway
