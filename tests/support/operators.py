"""Operators as child processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.scratch import eventually


class OperatorProcess:
    """One running `python -m broker_operator`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """Everything logged so far."""
        return self.log.read_text()

    async def http(self, path: str) -> tuple[int, str]:
        """GET from the probes' port; status 0 when nobody listens yet."""
        found = re.search(r"http=([0-9.:]+)", self.text)
        if not found:
            assert self.process.returncode is None, self.text
            return 0, ""
        async with aiohttp.ClientSession() as session, session.get(f"http://{found[1]}{path}") as answer:
            return answer.status, await answer.text()

    async def ready(self) -> bool:
        """Whether /readyz says so."""
        return (await self.http("/readyz"))[0] == 200

    async def leads(self) -> bool:
        """Whether this one works, by its metrics."""
        return await self.metric("broker_operator_leader") == 1

    async def metric(self, series: str) -> float:
        """The value of one series; 0 if it does not exist."""
        _, text = await self.http("/metrics")
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def passes(self) -> float:
        """How many passes have ended."""
        results = ("synced", "invalid", "paused", "failed", "gone")
        return sum([await self.metric(f'broker_operator_reconcile_total{{result="{result}"}}') for result in results])

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        self.process.kill()


@asynccontextmanager
async def running(
    kubeconfig: Path, namespace: str, log: Path, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[OperatorProcess]:
    """An operator for one namespace, its Lease in the same; ready when this returns."""
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(kubeconfig),
        "BROKER_IMAGE": "broker.invalid/broker:0",
        "PROXY_IMAGE": "broker.invalid/proxy:0",
        "OPERATOR_NAMESPACES": namespace,
        "OPERATOR_LEASE_NAMESPACE": namespace,
        "OPERATOR_IDENTITY": log.stem,
        "OPERATOR_HTTP": "127.0.0.1:0",
        "OPERATOR_LOG_FORMAT": "text",
        **(settings or {}),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "broker_operator", env=environment, stderr=output, stdout=output
        )
    operator = OperatorProcess(process, log)
    try:
        await eventually(operator.ready, "the operator is ready", within=60)
        yield operator
    finally:
        await operator.stop()
