"""The operator as a process: settings, probes, memory, logs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.operators import running

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

MEBIBYTE = 2**20


async def test_idle_memory_stays_within_its_promise(house: House) -> None:
    for number in range(5):
        await house.create(f"idle-{number}")
        await house.condition(f"idle-{number}", "ResourcesSynced", "True")
    pages = int(Path(f"/proc/{house.operator.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") <= 120 * MEBIBYTE


async def test_probes_and_metrics_answer(home: House) -> None:
    assert await home.operator.http("/livez") == (200, "ok")
    assert await home.operator.http("/readyz") == (200, "ok")
    status, text = await home.operator.http("/metrics")
    assert status == 200
    assert "broker_operator_reconcile_duration_seconds_bucket" in text


async def test_logs_can_be_json_and_show_no_manifest(house: House, tmp_path: Path) -> None:
    await house.operator.stop()
    settings = {"OPERATOR_LOG_FORMAT": "json", "OPERATOR_LOG_LEVEL": "debug"}
    async with running(house.config, house.namespace, tmp_path / "json.log", settings=settings) as operator:
        broker = {"podAnnotations": {"example.com/secret": "do-not-log-me"}}
        await house.create("quiet", {"replicas": 0, "storage": {"type": "Memory"}, "broker": broker})
        await house.condition("quiet", "ResourcesSynced", "True")
        assert await operator.stop() == 0
    lines = [json.loads(line) for line in operator.text.splitlines()]
    assert {"time", "level", "message"} <= set(lines[0])
    assert "do-not-log-me" not in operator.text
    token = json.loads(house.config.read_text())["users"][0]["user"]["token"]
    assert token not in operator.text


async def test_a_missing_setting_is_named() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "broker_operator", env={"PATH": os.environ["PATH"]}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert (
        said.decode()
        == "broker-operator: BROKER_IMAGE is not set: name the image to run, e.g. registry.example/name:1.0\n"
    )
