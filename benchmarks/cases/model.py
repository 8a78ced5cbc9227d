"""What a case is, and what can be asked of it."""

from dataclasses import dataclass
from typing import Any

MEBI = 1 << 20


@dataclass(frozen=True)
class Least:
    """The median rate is at least this."""

    rate: float


@dataclass(frozen=True)
class Share:
    """The rate is at least so many times that of another case in the same rounds."""

    least: float
    of: str


@dataclass(frozen=True)
class Most:
    """The median of a figure is at most this."""

    figure: str
    """p50_ms, p99_ms, server_cpu (of one core), proxy_us (CPU of the proxy, each), held_bytes (at the end of the load),
    peak_bytes, or left (memory after the load has gone, as a multiple of that before it)."""
    limit: float


Target = Least | Share | Most


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    title: str
    door: str
    """native or grpcio; empty where the server is not a broker."""
    store: str
    """memory, sqlite, postgres or replicas (two brokers on one PostgreSQL); without a door echo (grpc.aio), go-echo
    (grpc-go) or database (PostgreSQL alone)."""
    load: dict[str, Any]
    """Fields of the Job."""
    targets: tuple[Target, ...] = ()
    unit: str = "messages/s"
    proxy: str = ""
    """The name of a spec of `benchmarks.proxies`, for a proxy in front; empty: none."""
