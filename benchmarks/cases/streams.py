"""Streams: one that publishes, one that reads, and many that follow."""

from benchmarks.cases.model import Case, Least, Most, Share

STREAM = {"kind": "publish", "in_flight": 16, "frame": 100}
RAW = {"kind": "raw", "in_flight": 7, "frame": 100}
"""About as many rows at a time as the broker commits messages at a time under STREAM (broker_flush_messages)."""
REPLAY = {**STREAM, "kind": "replay"}
FOLLOWERS = {"kind": "fan-out", "connections": 10, "streams": 500, "frame": 1, "batched": False}

CASES = [
    Case("stream-grpcio", "PublishStream, grpcio door, memory, frames of 100", "grpcio", "memory", STREAM),
    Case("stream-memory", "PublishStream, memory, frames of 100", "native", "memory", STREAM, (Least(500_000),)),
    Case("stream-sqlite", "PublishStream, SQLite, frames of 100", "native", "sqlite", STREAM, (Least(40_000),)),
    Case("raw-postgres", "PostgreSQL alone, 700 rows each time", "", "database", RAW, unit="rows/s"),
    Case(
        "stream-postgres",
        "PublishStream, PostgreSQL, frames of 100",
        "native",
        "postgres",
        STREAM,
        (Least(70_000), Share(0.6, "raw-postgres")),
    ),
    Case(
        "replay-subscribe",
        "Subscribe, 1 subscriber replays all",
        "native",
        "memory",
        {**REPLAY, "batched": False},
        (Least(400_000),),
    ),
    Case("replay", "SubscribeBatch, 1 subscriber replays all", "native", "memory", REPLAY, (Least(700_000),)),
    Case("live", "PublishStream with 1 SubscribeBatch that follows", "native", "memory", {**STREAM, "kind": "live"}),
    Case(
        "fan-out-grpcio",
        "1,000/s to 50 × Subscribe, one publish each, grpcio door",
        "grpcio",
        "memory",
        {**FOLLOWERS, "rate": 1000, "streams": 50},
    ),
    Case(
        "fan-out",
        "1,000/s to 500 × Subscribe, one publish each",
        "native",
        "memory",
        {**FOLLOWERS, "rate": 1000},
        (Least(495_000), Most("p99_ms", 12), Most("server_cpu", 0.6)),
    ),
    Case(
        "fan-out-fast",
        "2,500/s to 500 × Subscribe, one publish each",
        "native",
        "memory",
        {**FOLLOWERS, "rate": 2500},
        (Most("p99_ms", 40),),
    ),
]
