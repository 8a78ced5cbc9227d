"""The options of `python -m broker`: each is declared once, with its unit, default, help and environment variable."""

import re
from collections.abc import Callable

from broker.peers import parse_peers

MAX_STORE_WAIT = 1_000_000_000
"""Seconds, and so for ever."""
MAX_AGE = 7 * 24 * 3600
"""Seconds, a week; in milliseconds and with jitter, it must fit 31 bits."""

_SIZE = re.compile(r"(\d+)(|Ki|Mi|Gi|k|M|G)")
_FACTORS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}


class Option:
    """One option.

    Attributes:
        flag: its name on the command line, without the dashes.
        parse: makes a value of text, or raises ValueError with a message that has the text in it.
        default: as text.
        text: the help.
    """

    def __init__(self, flag: str, parse: Callable[[str], object], default: str, text: str) -> None:
        self.flag = flag
        self.parse = parse
        self.default = default
        self.text = text

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "BROKER_" + self.flag.upper().replace("-", "_")

    @property
    def key(self) -> str:
        """Its name in Python."""
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


def _streams(text: str) -> int:
    streams = _count(text)
    if streams > 2**31 - 1:
        raise ValueError(f"{text!r} is too many: HTTP/2 knows at most {2**31 - 1}")
    return streams


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


def _interval(text: str) -> float:
    seconds = _seconds(3600)(text)
    if not seconds > 0:
        raise ValueError(f"{text!r} is too short: give a number of seconds above 0")
    return seconds


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
    Option("listen", _address, "0.0.0.0:50051", "HOST:PORT for gRPC; port 0 picks a free one"),
    Option("http", _address, "0.0.0.0:8080", "HOST:PORT for /metrics, /livez and /readyz; port 0 picks a free one"),
    Option(
        "store",
        _one_of("memory", "sqlite", "postgres"),
        "sqlite",
        "where messages are kept: memory (lost at exit), sqlite (a file) or postgres (a database server)",
    ),
    Option("sqlite-path", str, "broker.db", "the database file of --store sqlite; created when it does not exist"),
    Option("sqlite-limit", _size, "0", "bytes the database file may take; 0 leaves it to the disk"),
    Option(
        "postgres-dsn",
        _dsn,
        "",
        "the database of --store postgres, postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
        "better in the environment, because other users see command lines",
    ),
    Option("postgres-dsn-file", str, "", "a file with the URI instead, read anew for each connection"),
    Option("postgres-password-file", str, "", "a file with the password, read anew for each connection"),
    Option("postgres-pool", _pool, "8", "connections to PostgreSQL at most, 2 or more; up to 4 of them write"),
    Option("memory-limit", _positive_size, "256Mi", "bytes --store memory holds; then publishes are refused"),
    Option("max-body", _positive_size, "1Mi", "bytes of the largest message body"),
    Option("max-headers", _size, "8Ki", "bytes of the names and values of a message's headers"),
    Option("max-expiration", _expiration, "604800", "seconds of the longest expiration"),
    Option(
        "deduplication-window",
        _seconds(3600),
        "120",
        "seconds that the key of a message is remembered, so that it is taken once; 0 ignores keys",
    ),
    Option("max-queue-messages", _count, "100000", "messages that may wait for the store; then they are refused"),
    Option("max-queue-bytes", _positive_size, "64Mi", "bytes of bodies that may wait for the store"),
    Option("max-subscriptions", _count, "10000", "subscriptions at one time"),
    Option("subscription-queue-bytes", _positive_size, "1Mi", "bytes that may wait for one subscriber; then it lags"),
    Option("delivery-queue-bytes", _positive_size, "128Mi", "bytes that may wait for all subscribers together"),
    Option("cache-bytes", _size, "32Mi", "bytes of recent messages kept for fetches and lagging subscribers"),
    Option(
        "door",
        _one_of("auto", "native", "grpcio"),
        "auto",
        "what speaks gRPC: native (a compiled extension), grpcio (portable), or auto: native where it is installed",
    ),
    Option("tls-cert-file", str, "", "a PEM file with the certificate and those between it and its authority: TLS"),
    Option(
        "tls-key-file", str, "", "a PEM file with the certificate's private key; both are read anew when they change"
    ),
    Option(
        "tls-client-ca-file",
        str,
        "",
        "a PEM file with authorities: only clients with a certificate signed by one of them are served (mutual TLS)",
    ),
    Option(
        "trust-proxy",
        _one_of("no", "yes"),
        "no",
        "yes: believe what the headers x-broker-* say of a client; only for a broker that nobody but its own proxy, "
        "which drops those of clients, can reach",
    ),
    Option(
        "authorization-file",
        str,
        "",
        "a JSON file with rules that say which clients may publish and subscribe to what; read anew when it changes; "
        "without rules all may do everything",
    ),
    Option("max-connections", _count, "10000", "connections at one time; more are closed at once"),
    Option("max-streams", _streams, "4096", "calls at one time on one connection; more wait in the client"),
    Option("max-queued-calls", _count, "100000", "calls that may wait to be looked at; more are refused"),
    Option(
        "request-timeout",
        _interval,
        "30",
        "seconds that a request message may take to arrive, whatever its call's deadline (native door)",
    ),
    Option("keepalive-time", _seconds(3600), "30", "seconds of silence after which a client is pinged; 0: never"),
    Option("keepalive-timeout", _interval, "10", "seconds a client has to answer a ping; then it is taken for dead"),
    Option(
        "keepalive-min-interval",
        _seconds(3600),
        "5",
        "seconds between pings of a client without data; who pings more often is disconnected; 0: allow any",
    ),
    Option(
        "max-connection-age",
        _seconds(MAX_AGE),
        "0",
        "seconds after which a client is asked to connect again, give or take 10 %%, so that it finds new brokers; "
        "0: never",
    ),
    Option(
        "max-connection-age-grace",
        _seconds(MAX_AGE),
        "30",
        "seconds that calls on such a connection may take to end, then they are cut off; 0: for ever",
    ),
    Option(
        "store-wait",
        _seconds(MAX_STORE_WAIT),
        "0",
        "seconds to wait at the start for a store that cannot be used, not ready and saying why; 0: end instead",
    ),
    Option(
        "peers",
        _peers,
        "",
        "the other brokers on the same database: dns:///NAME:PORT, all addresses of a name, or HOST:PORT,HOST:PORT",
    ),
    Option("peer-listen", _optional_address, "", "HOST:PORT for the other brokers, which nobody else should reach"),
    Option("drain-timeout", _seconds(3600), "25", "seconds that calls may take to end after SIGTERM"),
    Option("log-format", _one_of("text", "json"), "text", "log lines for people (text) or machines (json)"),
    Option("log-level", _one_of("debug", "info", "warning", "error"), "info", "the least severe level that is logged"),
]
