"""Servers under test, as child processes on a core of their own."""

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

from benchmarks import tools
from benchmarks.errors import BenchError
from tests.support.postgres import free_port, shared_server

READY = re.compile(r"ready .*?listen=(\S+)(?: http=(\S+))?")
START_SECONDS = 20
MEBI = 1 << 20
NOTHING: Mapping[str, str] = MappingProxyType({})


def pin(core: int) -> list[str]:
    """The command prefix that keeps a process on one core, where that can be asked for and there are two."""
    if shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2:
        return []
    return ["taskset", "--cpu-list", str(sorted(os.sched_getaffinity(0))[core])]


@dataclass
class Server:
    """A running server."""

    pid: int
    target: str
    http: str | None
    other: str = ""
    """Where a second replica takes calls."""

    def resident_bytes(self) -> int:
        return self._memory("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory since the start."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        return int(re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1]) << 10  # type: ignore[index]

    def metrics(self) -> str:
        if self.http is None:
            return ""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as response:
            text: str = response.read().decode()
        return text


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str] = NOTHING, core: int = 0) -> Iterator[Server]:
    """Start a program on a core, wait until it says ready, stop it at the end."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*pin(core), *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        try:
            yield _wait_ready(process, log.fileno())
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(process: "subprocess.Popen[bytes]", log: int) -> Server:
    command = shlex.join(map(str, cast("list[str]", process.args)))
    for _ in range(START_SECONDS * 20):
        text = os.pread(log, 1 << 16, 0).decode(errors="replace")
        if match := READY.search(text):
            return Server(process.pid, match[1], match[2])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise BenchError(f"{command} ended with {process.returncode} before it was ready:\n{text}")
    raise BenchError(f"{command} was not ready after {START_SECONDS} s:\n{text}")


@contextlib.contextmanager
def echo() -> Iterator[Server]:
    with running([sys.executable, "-m", "benchmarks.echo_server"]) as server:
        yield server


@contextlib.contextmanager
def go_echo() -> Iterator[Server]:
    with running([str(tools.go_echo())]) as server:
        yield server


def _command(door: str, store: str) -> list[str]:
    any_port = "127.0.0.1:0"
    options = {"--door": door, "--listen": any_port, "--http": any_port, "--store": store}
    return [sys.executable, "-m", "broker", *(text for option in options.items() for text in option)]


@contextlib.contextmanager
def broker(door: str, store: str, data: str | None, memory_limit: str = "4Gi") -> Iterator[Server]:
    """A broker with defaults, but a memory limit that a run does not reach.

    PostgreSQL runs on both cores, with its default settings, in the system's temporary directory.
    """
    command = _command(door, store)
    environment = {"BROKER_POSTGRES_DSN": shared_server().new_database()} if store == "postgres" else {}
    with tempfile.TemporaryDirectory(prefix="broker-bench-", dir=data) as directory:
        if store == "sqlite":
            command += ["--sqlite-path", f"{directory}/broker.db"]
        else:
            command += ["--memory-limit", memory_limit]
        with running(command, environment) as server:
            yield server


@contextlib.contextmanager
def replicas(door: str) -> Iterator[Server]:
    """Two brokers on one PostgreSQL that follow each other, on a core each; the load shares the second one."""
    environment = {"BROKER_POSTGRES_DSN": shared_server().new_database()}
    ports = [free_port(), free_port()]
    command = _command(door, "postgres")
    with contextlib.ExitStack() as stack:
        both = []
        for core, (own, other) in enumerate((ports, reversed(ports))):
            peers = ["--peer-listen", f"127.0.0.1:{own}", "--peers", f"127.0.0.1:{other}"]
            both.append(stack.enter_context(running([*command, *peers], environment, core)))
        for server in both:
            while "broker_peers_connected 1.0" not in server.metrics():
                time.sleep(0.05)
        yield dataclasses.replace(both[0], other=both[1].target)


@contextlib.contextmanager
def database() -> Iterator[Server]:
    """An empty database; the CPU of its server counts as that of others."""
    yield Server(os.getpid(), shared_server().new_database(), None)
