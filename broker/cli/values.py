"""Values as people type them: durations, start positions, addresses."""

import argparse
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]*")
_ONE_DURATION = "a number with a unit, e.g. 30s, 10m, 1h30m, 7d"


def duration(text: str) -> timedelta:
    """Read a duration such as 30s, 10m, 1h30m, 7d; 0 needs no unit."""
    if text == "0":
        return timedelta(0)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"{text!r} is not a duration: it is {_ONE_DURATION}"
        raise argparse.ArgumentTypeError(msg)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        msg = f"{text} is too long"
        raise argparse.ArgumentTypeError(msg) from None


def timeout(text: str) -> timedelta:
    """Read a duration above 0."""
    time = duration(text)
    if not time:
        msg = "a timeout must be above 0"
        raise argparse.ArgumentTypeError(msg)
    return time


def start(text: str) -> tuple[str, int | datetime | None]:
    """Read where a subscription starts: ("latest" | "earliest", None), ("after", id) or ("since", time)."""
    if text in ("latest", "earliest"):
        return text, None
    kind, separator, value = text.partition("=")
    if kind == "after" and value.isascii() and value.isdigit():
        return kind, int(value)
    if kind == "since" and value:
        return kind, moment(value)
    if not separator and text.endswith("ago"):
        return "since", moment(text)
    msg = f"{text!r} is not a start: use latest, earliest, after=ID, since=TIME or e.g. '10m ago'"
    raise argparse.ArgumentTypeError(msg)


def header_name(text: str) -> str:
    """Read the name of an HTTP header."""
    if not _HEADER_NAME.fullmatch(text):
        msg = f"{text!r} is not the name of a header: use letters, digits, '-' and '_'"
        raise argparse.ArgumentTypeError(msg)
    return text.lower()


def moment(text: str) -> datetime:
    """Read a time: ISO 8601 (without a zone: local time), or "10m ago"."""
    if text.endswith("ago"):
        try:
            return datetime.now(UTC) - duration(text.removesuffix("ago").strip())
        except OverflowError:
            msg = f"{text!r} is before the first year"
            raise argparse.ArgumentTypeError(msg) from None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = f"{text!r} is not a time: use e.g. 2026-03-01T09:30, 2026-03-01T09:30:00Z or '10m ago'"
        raise argparse.ArgumentTypeError(msg) from None


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 host stands in brackets."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (separator and host and port.isascii() and port.isdigit()) or int(port) > 65535:
        msg = f"{text!r} is not an address: use HOST:PORT, e.g. 127.0.0.1:50051"
        raise argparse.ArgumentTypeError(msg)
    return host, int(port)


def header(text: str) -> tuple[str, bytes]:
    """Read NAME=VALUE; the value may have any bytes and may be empty."""
    name, separator, value = text.partition("=")
    if not (separator and name):
        msg = f"{text!r} is not a header: it is NAME=VALUE, e.g. kind=new"
        raise argparse.ArgumentTypeError(msg)
    return name, value.encode(errors="surrogateescape")


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        msg = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
