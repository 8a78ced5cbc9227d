import base64
import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from broker.cli.output import FORMATS
from broker.client import Message

TIME = datetime(2026, 3, 1, 9, 30, 0, 123000, tzinfo=UTC)


@given(st.binary())
def test_no_format_loses_a_byte(body: bytes) -> None:
    message = Message("orders", 7, body, TIME)
    assert FORMATS["raw"](message) == body
    assert FORMATS["text"](message) == body + b"\n"
    line = FORMATS["json"](message)
    assert line.count(b"\n") == 1
    fields = json.loads(line)
    if "body" in fields:
        assert fields["body"].encode() == body
    else:
        assert base64.b64decode(fields["body_base64"]) == body


def test_json() -> None:
    assert json.loads(FORMATS["json"](Message("orders", 7, "grüße".encode(), TIME))) == {
        "subject": "orders",
        "id": 7,
        "published_at": "2026-03-01T09:30:00.123Z",
        "body": "grüße",
    }


def test_json_with_headers() -> None:
    message = Message("orders", 7, b"", TIME, {"kind": b"new", "trace": b"\xff"})
    fields = json.loads(FORMATS["json"](message))
    assert (fields["headers"], fields["headers_base64"]) == ({"kind": "new"}, {"trace": "/w=="})
