"""Calls with one answer, beside bare servers that only answer."""

from benchmarks.cases.model import Case, Least, Most, Share

BUSY = {"kind": "h2load", "connections": 8, "in_flight": 32}
CLOSED = {**BUSY, "kind": "unary"}
"""The same by our own client, which reads every answer."""
ALONE = {"kind": "unary"}
OPEN = {"kind": "open", "connections": 8, "rate": 10_000, "frame": 1}
FETCH = {**BUSY, "kind": "fetch", "messages": 2000}

CASES = [
    Case("echo", "bare grpc.aio echo, 256 in flight", "", "echo", BUSY, unit="calls/s"),
    Case("publish-grpcio", "Publish, grpcio door, memory, 256 in flight", "grpcio", "memory", BUSY),
    Case("go-echo", "bare grpc-go echo, 256 in flight", "", "go-echo", BUSY, unit="calls/s"),
    Case(
        "publish-memory",
        "Publish, memory, 256 in flight",
        "native",
        "memory",
        BUSY,
        (Least(70_000), Share(20, "publish-grpcio"), Share(1, "go-echo")),
    ),
    Case("publish-checked", "the same, every id checked", "native", "memory", CLOSED),
    Case(
        "publish-postgres",
        "Publish, PostgreSQL, 256 in flight",
        "native",
        "postgres",
        BUSY,
        (Least(40_000), Most("p99_ms", 15)),
    ),
    Case("publish-sqlite", "Publish, SQLite, 256 in flight", "native", "sqlite", BUSY, (Least(40_000),)),
    Case(
        "publish-open",
        "Publish, memory, at 10,000 a second",
        "native",
        "memory",
        OPEN,
        (Most("p50_ms", 0.5), Most("p99_ms", 3)),
    ),
    Case("publish-alone-grpcio", "Publish, grpcio door, memory, one at a time", "grpcio", "memory", ALONE),
    Case("publish-alone", "Publish, memory, one at a time", "native", "memory", ALONE, (Most("p50_ms", 0.25),)),
    Case("publish-alone-sqlite", "Publish, SQLite, one at a time", "native", "sqlite", ALONE),
    Case(
        "raw-alone", "PostgreSQL alone, one row at a time", "", "database", {"kind": "raw", "frame": 1}, unit="rows/s"
    ),
    Case(
        "publish-alone-postgres",
        "Publish, PostgreSQL, one at a time",
        "native",
        "postgres",
        ALONE,
        (Most("p50_ms", 1.3),),
    ),
    Case("fetch", "Fetch from the cache, 256 in flight", "native", "memory", FETCH, (Least(50_000),), unit="calls/s"),
]
