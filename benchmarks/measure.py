"""One case, once, on a fresh server."""

import contextlib
import re
import time
from contextlib import AbstractContextManager
from typing import Any

from benchmarks import loads, proxies, servers, tools
from benchmarks.cases.model import Case
from benchmarks.clocks import Watch
from benchmarks.load.job import Job
from benchmarks.proxies import Cost

REPLAYED_PER_SECOND = 300_000
"""How many messages a replay reads, for each second that other cases measure."""
RETURN_SECONDS = 10.0
"""How long a server has to give memory back after a flood."""
RETURNED = 1.2
"""What counts as given back: so many times the memory before."""


def require(case: Case) -> None:
    """Have ready what a case needs.

    Raises:
        Missing: a tool is not on this machine.
    """
    loads.require(case.load["kind"])
    if case.door == "native":
        tools.native_door()
    if case.store == "go-echo":
        tools.go_echo()


def measure(case: Case, seconds: float, data: str | None, watch: Watch | None = None) -> dict[str, Any]:
    """Run a case once; `watch` is told of the measured time.

    Raises:
        BenchError: server or load failed.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(case, data))
        watch = watch or Watch()
        if case.proxy:
            server, proxy = stack.enter_context(proxies.in_front(server, case.proxy))
            watch = Cost(proxy, watch)
        idle = server.resident_bytes()
        load = dict(case.load)
        if load["kind"] == "replay":
            load["messages"] = int(REPLAYED_PER_SECOND * seconds) // load["frame"] * load["frame"]
        job = Job(target=server.target, other=server.other, seconds=seconds, warm_up=min(1.0, seconds), **load)
        seen = {"idle_bytes": idle, **loads.run(job, server, watch)}
        if isinstance(watch, Cost):
            seen["proxy_us"] = watch.of_each(seen["count"])
        if job.kind == "flood":
            seen |= _given_back(server, seen["start_bytes"])
        seen["peak_bytes"] = server.peak_bytes()
        metrics = server.metrics()
        if refused := refused_calls(metrics):
            seen["problems"].append(f"the server counted refused calls: {refused}")
        if job.kind == "h2load" and server.http and published_calls(metrics) < seen["count"]:
            answered = published_calls(metrics)
            seen["problems"].append(f"{seen['count']} answers came, the server counted {answered} publishes")
        return seen


def _given_back(server: servers.Server, before: int) -> dict[str, Any]:
    """The memory that is left, as a multiple of that before, as soon as it counts as given back."""
    deadline = time.monotonic() + RETURN_SECONDS
    while server.resident_bytes() > RETURNED * before and time.monotonic() < deadline:
        time.sleep(0.1)
    took = RETURN_SECONDS - max(0.0, deadline - time.monotonic())
    left = server.resident_bytes()
    note = f"{before >> 20} MiB before, at most {server.peak_bytes() >> 20}, {left >> 20} after {took:.1f} s"
    return {"left": left / before, "note": note}


def _server(case: Case, data: str | None) -> AbstractContextManager[servers.Server]:
    match case.store:
        case "echo":
            return servers.echo()
        case "go-echo":
            return servers.go_echo()
        case "database":
            return servers.database()
        case "replicas":
            return servers.replicas(case.door)
        case _:
            return servers.broker(case.door, case.store, data)


def refused_calls(metrics: str) -> str:
    """The lines of `broker_calls_total` that are neither OK nor ended by the client, as code=count."""
    lines = [line for line in metrics.splitlines() if line.startswith("broker_calls_total{")]
    return " ".join(line for line in lines if 'code="OK"' not in line and 'code="CANCELLED"' not in line)


def published_calls(metrics: str) -> int:
    """How many calls of Publish the server has answered with OK."""
    counted = re.search(r'^broker_calls_total\{code="OK",method="Publish"\} (\S+)', metrics, re.MULTILINE)
    return int(float(counted[1])) if counted else 0
