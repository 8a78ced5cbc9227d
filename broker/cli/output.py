"""How messages are printed."""

import base64
import json
import os
import sys
from collections.abc import Callable
from typing import Any

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
    """One object and a newline.

    The body is `body` when it is UTF-8, otherwise `body_base64`; each header is in `headers` or `headers_base64` by the
    same rule, and where there are none there is no such field.
    """
    fields: dict[str, Any] = {"subject": message.subject, "id": message.id}
    fields["published_at"] = message.published_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for name, value in sorted(message.headers.items()):
        form, shown = _shown(value)
        fields.setdefault(f"headers{form}", {})[name] = shown
    form, shown = _shown(message.body)
    fields[f"body{form}"] = shown
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _shown(value: bytes) -> tuple[str, str]:
    """How bytes are shown: the suffix of the field's name, and the text."""
    try:
        return "", value.decode()
    except UnicodeDecodeError:
        return "_base64", base64.b64encode(value).decode()


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
