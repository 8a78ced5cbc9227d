"""How messages are printed."""

import base64
import json
import os
import sys
from collections.abc import Callable

from broker.cli.failure import Failure
from broker.client import Message

Format = Callable[[Message], bytes]


def text(message: Message) -> bytes:
    """The body and a newline."""
    return message.body + b"\n"


def raw(message: Message) -> bytes:
    """The body as it is."""
    return message.body


def as_json(message: Message) -> bytes:
    """One object and a newline. The body is `body` when it is UTF-8, otherwise `body_base64`."""
    fields: dict[str, object] = {"subject": message.subject, "id": message.id}
    fields["published_at"] = message.published_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        fields["body"] = message.body.decode()
    except UnicodeDecodeError:
        fields["body_base64"] = base64.b64encode(message.body).decode()
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


FORMATS: dict[str, Format] = {"text": text, "raw": raw, "json": as_json}


def write(data: bytes) -> None:
    """Write to standard output now: the next program in the pipe waits for it.

    Raises:
        BrokenPipeError: nobody reads it any more.
        Failure: it cannot be written.
    """
    if sys.stdout is None:
        msg = "standard output is closed"
        raise Failure(msg)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        msg = f"cannot write to standard output: {error.strerror}"
        raise Failure(msg) from None


def discard_output() -> None:
    """Forget what could not be written: Python would try again at its end, and complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
