"""Loads as processes on a core of their own."""

import json
import sys
import tempfile
import threading
from subprocess import PIPE, Popen
from typing import Any

from benchmarks import h2load, tools
from benchmarks.clocks import Shares, Watch
from benchmarks.errors import BenchError
from benchmarks.load.job import Job
from benchmarks.servers import Server, pin

LONGEST_SECONDS = 300
IN_PYTHON = ("client", "raw")


def require(kind: str) -> None:
    """Have ready what a load of this kind needs.

    Raises:
        Missing: a tool is not on this machine.
    """
    if kind == "h2load":
        tools.h2load()
    elif kind not in IN_PYTHON:
        tools.loader()


def run(job: Job, server: Server, watch: Watch) -> dict[str, Any]:
    """Run a load on core 1. Returns what it saw, with shares of CPU and the server's memory (bytes).

    `start_bytes` is the server's memory before the load itself, `held_bytes` at the end of the measured time.

    Raises:
        BenchError: the load failed.
    """
    if job.kind == "h2load":
        return h2load.run(job, server, watch)
    program = [sys.executable, "-m", "benchmarks.load"] if job.kind in IN_PYTHON else [str(tools.loader())]
    seen: dict[str, Any] = {"start_bytes": server.resident_bytes()}
    with tempfile.TemporaryFile("w+") as errors:
        with Popen([*pin(1), *program, job.to_json()], stdin=PIPE, stdout=PIPE, stderr=errors, text=True) as process:
            limit = threading.Timer(LONGEST_SECONDS, process.kill)
            limit.start()
            try:
                _follow(process, server, seen, watch)
            finally:
                limit.cancel()
                process.kill()
        errors.seek(0)
        if "rate" not in seen:
            raise BenchError(f"the load {job.kind} failed:\n{errors.read()}")
    return seen


def _follow(process: "Popen[str]", server: Server, seen: dict[str, Any], watch: Watch) -> None:
    """Read what a load says, and clocks at its marks, until it has ended."""
    assert process.stdout
    assert process.stdin
    for line in process.stdout:
        match line.strip():
            case "preloaded":
                seen["start_bytes"] = server.resident_bytes()
            case "begin":
                shares = Shares(server.pid, process.pid)
                watch.begin(server.pid)
            case "end":
                seen |= shares.read()
                watch.end()
                seen["held_bytes"] = server.resident_bytes()
                process.stdin.write("\n")
                process.stdin.flush()
            case report:
                seen |= json.loads(report)
    process.wait()
