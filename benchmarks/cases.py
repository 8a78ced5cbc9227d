"""What is measured, as data."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmarks import servers
from benchmarks.load.job import Job


@dataclass(frozen=True)
class Target:
    """The least rate that is asked for: an absolute one, or a share of another case's median."""

    least: float
    of: str | None = None


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    title: str
    store: str
    """echo, memory, sqlite or postgres."""
    load: dict[str, Any]
    """Fields of the Job."""
    target: Target | None = None
    unit: str = "messages/s"


BUSY = {"kind": "unary", "connections": 8, "in_flight": 32}
ALONE = {"kind": "unary", "connections": 1, "in_flight": 1}
STREAM = {"kind": "publish", "in_flight": 16, "frame": 100}
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
    Case("publish-alone-postgres", "Publish, PostgreSQL, one at a time", "postgres", ALONE),
    Case("stream-memory", "PublishStream, memory, frames of 100", "memory", STREAM, Target(100_000)),
    Case("stream-sqlite", "PublishStream, SQLite, frames of 100", "sqlite", STREAM, Target(40_000)),
    Case("stream-postgres", "PublishStream, PostgreSQL, frames of 100", "postgres", STREAM, Target(70_000)),
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
]

REPLAYED_PER_SECOND = 100_000
"""How many messages a replay reads, for each second that other cases measure."""


def measure(case: Case, seconds: float, data: str | None) -> dict[str, Any]:
    """Run a case once on a fresh server."""
    with servers.echo() if case.store == "echo" else servers.broker(case.store, data) as server:
        idle = server.resident_bytes()
        job = Job(target=server.target, server=server.pid, seconds=seconds, **case.load)
        if job.kind == "replay":
            job = dataclasses.replace(job, messages=int(REPLAYED_PER_SECOND * seconds) // job.frame * job.frame)
        seen = servers.load(job)
        refused = refused_calls(server.metrics())
        if refused:
            seen["problems"].append(f"the server counted refused calls: {refused}")
        return {**seen, "idle_bytes": idle, "loaded_bytes": server.resident_bytes()}


def refused_calls(metrics: str) -> str:
    """The lines of `broker_calls_total` that are neither OK nor ended by the client, as code=count."""
    lines = [line for line in metrics.splitlines() if line.startswith("broker_calls_total{")]
    return " ".join(line for line in lines if 'code="OK"' not in line and 'code="CANCELLED"' not in line)
