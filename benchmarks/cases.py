"""What is measured, as data."""

import dataclasses
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks import servers
from benchmarks.load.job import Job


@dataclass(frozen=True)
class Target:
    """What is asked for: the least rate, an absolute one or a share of another case's median, and latencies."""

    least: float
    of: str | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    title: str
    store: str
    """echo, memory, sqlite, postgres, replicas (two brokers on one PostgreSQL) or database (no broker)."""
    load: dict[str, Any]
    """Fields of the Job."""
    target: Target | None = None
    unit: str = "messages/s"


BUSY = {"kind": "unary", "connections": 8, "in_flight": 32}
ALONE = {"kind": "unary", "connections": 1, "in_flight": 1}
STREAM = {"kind": "publish", "in_flight": 16, "frame": 100}
RAW = {"kind": "raw", "in_flight": 7, "frame": 100}
"""About as many rows at a time as the broker commits messages at a time under STREAM (broker_flush_messages)."""
CLIENT = {"kind": "client", "in_flight": 1000}
FOLLOWERS = {"kind": "fan-out", "connections": 10, "streams": 100, "rate": 1000}

CASES = [
    Case("echo", "bare grpc.aio echo, 256 in flight", "echo", {**BUSY, "checked": False}, unit="calls/s"),
    Case("publish-memory", "Publish, memory, 256 in flight", "memory", BUSY, Target(0.75, of="echo")),
    Case("publish-sqlite", "Publish, SQLite, 256 in flight", "sqlite", BUSY),
    Case("publish-postgres", "Publish, PostgreSQL, 256 in flight", "postgres", BUSY, Target(0.6, of="publish-memory")),
    Case("echo-alone", "bare grpc.aio echo, one at a time", "echo", {**ALONE, "checked": False}, unit="calls/s"),
    Case("publish-alone-memory", "Publish, memory, one at a time", "memory", ALONE),
    Case("publish-alone-sqlite", "Publish, SQLite, one at a time", "sqlite", ALONE),
    Case("raw-alone", "PostgreSQL alone, one row at a time", "database", {"kind": "raw", "frame": 1}, unit="rows/s"),
    Case("publish-alone-postgres", "Publish, PostgreSQL, one at a time", "postgres", ALONE, Target(0, p50_ms=1.3)),
    Case("stream-memory", "PublishStream, memory, frames of 100", "memory", STREAM, Target(100_000)),
    Case("stream-sqlite", "PublishStream, SQLite, frames of 100", "sqlite", STREAM, Target(40_000)),
    Case("raw-postgres", "PostgreSQL alone, 700 rows each time", "database", RAW, unit="rows/s"),
    Case("stream-postgres", "PublishStream, PostgreSQL, frames of 100", "postgres", STREAM, Target(70_000)),
    Case("stream-of-raw", "the same again", "postgres", STREAM, Target(0.6, of="raw-postgres")),
    Case("client-memory", "await publish(), 1,000 tasks, memory", "memory", CLIENT, Target(30_000)),
    Case("client-subjects", "the same on 100 subjects", "memory", {**CLIENT, "subjects": 100}, Target(30_000)),
    Case("client-postgres", "await publish(), 1,000 tasks, PostgreSQL", "postgres", CLIENT, Target(30_000)),
    Case("client-alone", "await publish(), 1 task, memory", "memory", {"kind": "client"}),
    Case("replay", "SubscribeBatch, 1 subscriber replays all", "memory", {**STREAM, "kind": "replay"}, Target(150_000)),
    Case("live", "PublishStream with 1 SubscribeBatch that follows", "memory", {**STREAM, "kind": "live"}),
    Case(
        "fan-out",
        "100 × SubscribeBatch, 1,000 messages/s to each, published 10 a frame",
        "memory",
        {**FOLLOWERS, "frame": 10},
        Target(99_000),
    ),
    Case(
        "fan-out-single",
        "100 × SubscribeBatch, 1,000/s offered, published 1 a frame",
        "memory",
        {**FOLLOWERS, "frame": 1},
    ),
    Case(
        "fan-out-subscribe",
        "100 × Subscribe (1 message a frame), 1,000/s offered, published 10 a frame",
        "memory",
        {**FOLLOWERS, "frame": 10, "batched": False},
    ),
    Case(
        "replicas",
        "1,000 messages/s to one replica, 20 subjects × 50 SubscribeBatch on another, 10 a frame",
        "replicas",
        {**FOLLOWERS, "connections": 20, "streams": 1000, "subjects": 20, "frame": 10},
        Target(49_000, p50_ms=5, p99_ms=25),
    ),
    Case(
        "replicas-single",
        "the same, 1 a frame",
        "replicas",
        {**FOLLOWERS, "connections": 20, "streams": 1000, "subjects": 20, "frame": 1},
    ),
    Case(
        "replicas-one-each",
        "1,000 messages/s to one replica, 20 subjects × 1 SubscribeBatch on another, 1 a frame",
        "replicas",
        {**FOLLOWERS, "connections": 1, "streams": 20, "subjects": 20, "frame": 1},
        Target(990, p50_ms=5, p99_ms=25),
    ),
    Case(
        "replicas-publish",
        "Publish, 2 replicas, each its own subject, 256 in flight",
        "replicas",
        BUSY,
        Target(1.6, of="publish-postgres"),
    ),
]

REPLAYED_PER_SECOND = 100_000
"""How many messages a replay reads, for each second that other cases measure."""


def measure(case: Case, seconds: float, data: str | None) -> dict[str, Any]:
    """Run a case once on a fresh server."""
    with _server(case, data) as server:
        idle = server.resident_bytes()
        job = Job(target=server.target, other=server.other, server=server.pid, seconds=seconds, **case.load)
        if job.kind == "replay":
            job = dataclasses.replace(job, messages=int(REPLAYED_PER_SECOND * seconds) // job.frame * job.frame)
        seen = servers.load(job)
        refused = refused_calls(server.metrics())
        if refused:
            seen["problems"].append(f"the server counted refused calls: {refused}")
        return {**seen, "idle_bytes": idle, "loaded_bytes": server.resident_bytes()}


def _server(case: Case, data: str | None) -> AbstractContextManager[servers.Server]:
    match case.store:
        case "echo":
            return servers.echo()
        case "replicas":
            return servers.replicas()
        case "database":
            return servers.database()
        case _:
            return servers.broker(case.store, data)


def refused_calls(metrics: str) -> str:
    """The lines of `broker_calls_total` that are neither OK nor ended by the client, as code=count."""
    lines = [line for line in metrics.splitlines() if line.startswith("broker_calls_total{")]
    return " ".join(line for line in lines if 'code="OK"' not in line and 'code="CANCELLED"' not in line)
