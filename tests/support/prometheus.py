"""A real Prometheus as a child process, and its HTTP API."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BINARY = shutil.which("prometheus")
SCRAPE_INTERVAL = "250ms"
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Scrape:
    """One scraped address and the labels that Prometheus Operator would give to what it says."""

    address: str
    path: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What Prometheus says to a query."""

    error: str
    """Empty when the query was valid."""
    result: Any


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **parameters: str) -> Answer:
        """Ask `/api/v1/PATH`."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        return Answer(answer.get("error", ""), answer.get("data"))

    def query(self, expression: str, time: float | None = None) -> Answer:
        """An instant query, now or at a time."""
        at = {} if time is None else {"time": str(time)}
        answer = self.get("query", query=expression, **at)
        return Answer(answer.error, answer.result["result"] if answer.result else [])

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as response:
                return int(response.status) == 200
        except OSError:
            return False


@asynccontextmanager
async def running_prometheus(scrapes: list[Scrape]) -> AsyncIterator[Prometheus]:
    """Prometheus that scrapes these addresses four times a second."""
    assert BINARY, "there is no prometheus on this machine"
    directory = Path(tempfile.mkdtemp(prefix="prometheus-"))
    config = {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL},
        "scrape_configs": [
            {
                "job_name": f"scrape-{index}",
                "metrics_path": scrape.path,
                "static_configs": [{"targets": [scrape.address], "labels": dict(scrape.labels)}],
            }
            for index, scrape in enumerate(scrapes)
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        BINARY,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command, env={**os.environ, "no_proxy": "*"})
    prometheus = Prometheus(address)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await asyncio.to_thread(prometheus.is_ready):
                assert process.poll() is None, "Prometheus ended before it was ready"
                await asyncio.sleep(0.05)
        yield prometheus
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(directory)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
