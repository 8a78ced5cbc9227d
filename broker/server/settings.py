"""The options of `python -m broker`: each is declared once, with its unit, default, help and environment variable."""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from broker.engine.rules import Limits
from broker.peers import parse_peers
from broker.server.door import DoorLimits

KIB, MIB = 1 << 10, 1 << 20

MAX_STORE_WAIT = 1_000_000_000
"""Seconds, and so for ever."""

_SIZE = re.compile(r"(\d+)(|Ki|Mi|Gi|k|M|G)")
_FACTORS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Settings:
    """How one broker process runs. Sizes in bytes, times in seconds."""

    listen: str
    http: str
    door: str
    store: str
    sqlite_path: str
    sqlite_limit: int
    postgres_dsn: str = field(repr=False)
    postgres_dsn_file: str
    postgres_password_file: str
    postgres_pool: int
    memory_limit: int
    store_wait: float
    peers: str
    peer_listen: str
    drain_timeout: float
    log_format: str
    log_level: str
    limits: Limits
    door_limits: DoorLimits


class _Option:
    def __init__(self, flag: str, parse: Callable[[str], object], default: str, text: str) -> None:
        self.flag = flag
        self.parse = parse
        self.default = default
        self.text = text

    @property
    def variable(self) -> str:
        return "BROKER_" + self.flag.upper().replace("-", "_")

    @property
    def key(self) -> str:
        return self.flag.replace("-", "_")


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: give bytes, or a number with Ki, Mi, Gi, k, M or G, such as 64Mi")
    return int(match[1]) * _FACTORS[match[2]]


def _positive_size(text: str) -> int:
    size = _size(text)
    if size == 0:
        raise ValueError(f"{text!r} is not allowed: give at least 1 byte")
    return size


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text.strip()) or int(text) == 0:
        raise ValueError(f"{text!r} is not a positive whole number")
    return int(text)


def _pool(text: str) -> int:
    size = _count(text)
    if size < 2:
        raise ValueError(f"{text!r} is too small: at least 1 connection writes, and 1 reads")
    return size


def _expiration(text: str) -> int:
    seconds = _count(text)
    if seconds > 2**31 - 1:
        raise ValueError(f"{text!r} is too long: expirationSeconds is a 32-bit number, so at most {2**31 - 1}")
    return seconds


def _seconds(largest: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= largest:
            raise ValueError(f"{text!r} is not a number of seconds from 0 to {largest}")
        return seconds

    return parse


def _address(text: str) -> str:
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 0.0.0.0:50051 or [::]:50051")
    return text.strip()


def _optional_address(text: str) -> str:
    return _address(text) if text else text


def _peers(text: str) -> str:
    if text:
        parse_peers(text)
    return text.strip()


def _dsn(text: str) -> str:
    if text:
        from broker.store.postgres.address import describe

        describe(text)
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return parse


OPTIONS = [
    _Option("listen", _address, "0.0.0.0:50051", "HOST:PORT for gRPC; port 0 picks a free one"),
    _Option("http", _address, "0.0.0.0:8080", "HOST:PORT for /metrics, /livez and /readyz; port 0 picks a free one"),
    _Option(
        "store",
        _one_of("memory", "sqlite", "postgres"),
        "sqlite",
        "where messages are kept: memory (lost at exit), sqlite (a file) or postgres (a database server)",
    ),
    _Option("sqlite-path", str, "broker.db", "the database file of --store sqlite; created when it does not exist"),
    _Option("sqlite-limit", _size, "0", "bytes the database file may take; 0 leaves it to the disk"),
    _Option(
        "postgres-dsn",
        _dsn,
        "",
        "the database of --store postgres, postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
        "better in the environment, because other users see command lines",
    ),
    _Option("postgres-dsn-file", str, "", "a file with the URI instead, read anew for each connection"),
    _Option("postgres-password-file", str, "", "a file with the password, read anew for each connection"),
    _Option("postgres-pool", _pool, "8", "connections to PostgreSQL at most, 2 or more; up to 4 of them write"),
    _Option("memory-limit", _positive_size, "256Mi", "bytes --store memory holds; then publishes are refused"),
    _Option("max-body", _positive_size, "1Mi", "bytes of the largest message body"),
    _Option("max-headers", _size, "8Ki", "bytes of the names and values of a message's headers"),
    _Option("max-expiration", _expiration, "604800", "seconds of the longest expiration"),
    _Option(
        "deduplication-window",
        _seconds(3600),
        "120",
        "seconds that the key of a message is remembered, so that it is taken once; 0 ignores keys",
    ),
    _Option("max-queue-messages", _count, "100000", "messages that may wait for the store; then they are refused"),
    _Option("max-queue-bytes", _positive_size, "64Mi", "bytes of bodies that may wait for the store"),
    _Option("max-subscriptions", _count, "10000", "subscriptions at one time"),
    _Option("subscription-queue-bytes", _positive_size, "1Mi", "bytes that may wait for one subscriber; then it lags"),
    _Option("delivery-queue-bytes", _positive_size, "128Mi", "bytes that may wait for all subscribers together"),
    _Option("cache-bytes", _size, "32Mi", "bytes of recent messages kept for fetches and lagging subscribers"),
    _Option(
        "door",
        _one_of("auto", "native", "grpcio"),
        "auto",
        "what speaks gRPC: native (a compiled extension), grpcio (portable), or auto: native where it is installed",
    ),
    _Option(
        "store-wait",
        _seconds(MAX_STORE_WAIT),
        "0",
        "seconds to wait at the start for a store that cannot be used, not ready and saying why; 0: end instead",
    ),
    _Option(
        "peers",
        _peers,
        "",
        "the other brokers on the same database: dns:///NAME:PORT, all addresses of a name, or HOST:PORT,HOST:PORT",
    ),
    _Option("peer-listen", _optional_address, "", "HOST:PORT for the other brokers, which nobody else should reach"),
    _Option("drain-timeout", _seconds(3600), "25", "seconds that calls may take to end after SIGTERM"),
    _Option("log-format", _one_of("text", "json"), "text", "log lines for people (text) or machines (json)"),
    _Option("log-level", _one_of("debug", "info", "warning", "error"), "info", "the least severe level that is logged"),
]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line that says what is wrong."""
        self.exit(2, f"{self.prog}: {message}; --help lists all options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m broker",
        description="Serve the broker over gRPC until SIGTERM, which drains it.",
        epilog="Each option can be given in the environment instead, as BROKER_ and its name: BROKER_MAX_BODY=4Mi. "
        "The command line wins. Sizes take Ki, Mi, Gi, k, M and G.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        parser.add_argument(
            f"--{option.flag}",
            metavar=option.flag.rpartition("-")[2].upper(),
            help=f"{option.text} (default {option.default or 'none'}; {option.variable})",
        )
    return parser


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the options from the command line, then from the environment, then take their defaults.

    Raises:
        SystemExit: with status 2 after one line on standard error that says which value is wrong and why; with
            status 0 after --help.
    """
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    values: dict[str, object] = {}
    for option in OPTIONS:
        source = f"--{option.flag}"
        text = given[option.key]
        if text is None and option.variable in environment:
            source, text = option.variable, environment[option.variable]
        try:
            values[option.key] = option.parse(option.default if text is None else text)
        except ValueError as error:
            parser.error(f"{source}: {error}")
    return _settings(values, parser)


def _settings(values: Mapping[str, object], parser: argparse.ArgumentParser) -> Settings:
    def size(key: str) -> int:
        value = values[key]
        assert isinstance(value, int)
        return value

    if size("max_body") > size("max_queue_bytes"):
        parser.error("--max-body is larger than --max-queue-bytes: such a message could never be published")
    if values["store"] == "postgres" and not (values["postgres_dsn"] or values["postgres_dsn_file"]):
        parser.error(
            "--store=postgres needs the URI of its database: BROKER_POSTGRES_DSN, --postgres-dsn or --postgres-dsn-file"
        )
    if values["store"] != "postgres" and (values["peers"] or values["peer_listen"]):
        parser.error("--peers and --peer-listen are for brokers that share a store: --store=postgres")
    if values["peers"] and not values["peer_listen"]:
        parser.error("--peers needs --peer-listen: the other brokers want to follow this one too")
    limits = Limits(
        max_body=size("max_body"),
        max_headers=size("max_headers"),
        max_expiration=size("max_expiration"),
        deduplication_window=float(str(values["deduplication_window"])),
        max_queue_messages=size("max_queue_messages"),
        max_queue_bytes=size("max_queue_bytes"),
        max_subscriptions=size("max_subscriptions"),
        cache_bytes=size("cache_bytes"),
    )
    door_limits = DoorLimits(
        # Room for two of the largest messages in a frame, and for being told exactly what is too large.
        max_request=max(4 * MIB, 2 * (size("max_body") + size("max_headers"))) + 64 * KIB,
        max_stream_queue=size("subscription_queue_bytes"),
        max_queued=size("delivery_queue_bytes"),
    )
    return Settings(
        listen=str(values["listen"]),
        http=str(values["http"]),
        door=str(values["door"]),
        store=str(values["store"]),
        sqlite_path=str(values["sqlite_path"]),
        sqlite_limit=size("sqlite_limit"),
        postgres_dsn=str(values["postgres_dsn"]),
        postgres_dsn_file=str(values["postgres_dsn_file"]),
        postgres_password_file=str(values["postgres_password_file"]),
        postgres_pool=size("postgres_pool"),
        memory_limit=size("memory_limit"),
        store_wait=float(str(values["store_wait"])),
        peers=str(values["peers"]),
        peer_listen=str(values["peer_listen"]),
        drain_timeout=float(str(values["drain_timeout"])),
        log_format=str(values["log_format"]),
        log_level=str(values["log_level"]),
        limits=limits,
        door_limits=door_limits,
    )
