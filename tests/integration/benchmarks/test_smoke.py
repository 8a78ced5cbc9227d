"""The benchmarks run and check what they measure. How fast it was is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cases


@pytest.mark.parametrize(
    "name",
    ["echo", "publish-memory", "stream-sqlite", "stream-postgres", "client-subjects", "replay", "live", "fan-out"],
)
def test_a_case_measures_and_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--seconds=0.3", f"--results={tmp_path}", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = (case for case in cases.CASES if case.name == name)
    assert f"| {case.title}" in done.stdout
    (kept,) = tmp_path.glob("*.json")
    (seen,) = json.loads(kept.read_text())["rounds"][name]
    assert seen["rate"] > 0
    assert not seen["problems"]


def test_a_server_that_cannot_start_is_told_in_a_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--seconds=0.3", f"--data={missing}", "stream-sqlite"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks: ")
    assert "Traceback" not in done.stderr


def test_refused_calls_are_found_in_the_servers_own_count() -> None:
    metrics = (
        'broker_calls_total{code="OK",method="Publish"} 3.0\n'
        'broker_calls_total{code="CANCELLED",method="Subscribe"} 1.0\n'
        'broker_calls_total{code="UNAVAILABLE",method="Publish"} 2.0\n'
    )
    assert cases.refused_calls(metrics) == 'broker_calls_total{code="UNAVAILABLE",method="Publish"} 2.0'
