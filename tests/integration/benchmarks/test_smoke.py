"""The benchmarks run and check what they measure. How fast it was is not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cases, loads, servers
from benchmarks.cases.model import Case
from benchmarks.clocks import Watch
from benchmarks.errors import Missing
from benchmarks.load.job import Job
from benchmarks.measure import published_calls, refused_calls, require
from benchmarks.verdicts import Line, verdict

SMOKE = [
    "echo",
    "go-echo",
    "publish-grpcio",
    "publish-memory",
    "publish-checked",
    "publish-open",
    "fetch",
    "stream-sqlite",
    "stream-postgres",
    "stream-grpcio",
    "raw-alone",
    "replay",
    "replay-subscribe",
    "live",
    "fan-out",
    "fan-out-grpcio",
    "idle",
    "client-subjects",
    "proxy-everything",
    "subject-many",
    "subject-followers",
]
"""One of each kind, store and door."""


def named(name: str) -> Case:
    return next(case for case in cases.CASES if case.name == name)


def bench(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--seconds=0.3", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("name", SMOKE)
def test_a_case_measures_and_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    case = named(name)
    try:
        require(case)
    except Missing as missing:
        pytest.skip(str(missing))
    done = bench(f"--results={tmp_path}", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {case.title}" in done.stdout
    (kept,) = tmp_path.glob("*.json")
    (seen,) = json.loads(kept.read_text())["rounds"][name]
    assert seen["rate"] > 0
    assert not seen["problems"]


def test_a_server_that_cannot_start_is_told_in_a_line(tmp_path: Path) -> None:
    done = bench(f"--data={tmp_path / 'missing'}", "client-alone")
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks: ")
    assert "Traceback" not in done.stderr


def test_what_needs_a_tool_that_is_not_here_is_left_out_with_the_reason(tmp_path: Path) -> None:
    done = bench(f"--results={tmp_path}", "echo", "go-echo", "raw-alone", PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| PostgreSQL alone, one row at a time" in done.stdout
    assert "Left out: echo, go-echo: needs h2load" in done.stdout


def test_a_profile_without_perf_is_told_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.profile", "publish-memory"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)}
    )
    assert done.returncode == 1
    assert done.stderr == "benchmarks: needs perf (the package linux-perf of Debian)\n"


@pytest.mark.parametrize("kind", ["h2load", "unary", "open", "publish"])
def test_a_load_whose_calls_are_refused_says_so(kind: str) -> None:
    try:
        loads.require(kind)
    except Missing as missing:
        pytest.skip(str(missing))
    with servers.broker("grpcio", "memory", None, memory_limit="10Ki") as server:
        seen = loads.run(Job(kind, server.target, seconds=0.3, warm_up=0.1, rate=1000, frame=1), server, Watch())
    assert seen["problems"]


def test_refused_calls_are_found_in_the_servers_own_count() -> None:
    metrics = (
        'broker_calls_total{code="OK",method="Publish"} 3.0\n'
        'broker_calls_total{code="CANCELLED",method="Subscribe"} 1.0\n'
        'broker_calls_total{code="UNAVAILABLE",method="Publish"} 2.0\n'
    )
    assert refused_calls(metrics) == 'broker_calls_total{code="UNAVAILABLE",method="Publish"} 2.0'
    assert published_calls(metrics) == 3


def line(case: str, problems: tuple[str, ...] = (), **figures: Any) -> Line:
    return Line(named(case), [{"problems": list(problems), "rate": 0, "p50_ms": 0, "p99_ms": 0, **figures}])


def test_every_target_is_told_with_whether_it_was_met() -> None:
    lines = {
        "publish-grpcio": line("publish-grpcio", rate=5_000),
        "publish-memory": line("publish-memory", rate=90_000),
        "fan-out": line("fan-out", rate=500_000, p99_ms=12.5, server_cpu=0.5),
    }
    text, met = verdict(lines["publish-memory"], lines)
    assert (text, met) == (
        "≥ 70,000: met; ≥ 20 × publish-grpcio: MISSED, 18.00 ×; ≥ 1 × go-echo: not measured",
        False,
    )
    assert verdict(lines["fan-out"], lines) == ("≥ 495,000: met; p99 ≤ 12 ms: MISSED; ≤ 0.6 core: met", False)


def test_a_line_with_a_wrong_answer_has_met_nothing() -> None:
    wrong = line("fetch", problems=("another message",), rate=10**6)
    assert verdict(wrong, {}) == ("≥ 50,000: met; WRONG", False)
