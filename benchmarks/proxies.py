"""Envoy in front of brokers under test, with the configuration that the operator renders.

It runs on core 1 with one worker, beside the load. Its own core it has only where there are three; so what a call costs
it is told as CPU time, which does not depend on who else runs there.
"""

import asyncio
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.clocks import Watch, cpu_of
from benchmarks.servers import Server
from tests.support.envoy import Proxy, manager, running_envoy
from tests.support.keys import keys
from tests.support.tls import make_certificate

API_KEY_HEADER, API_KEY = "x-api-key", "benchmark"

_ENOUGH = {"requests": 10_000_000, "unit": "Second"}
SPECS: Mapping[str, Mapping[str, Any]] = {
    "bare": {},
    "plain": {},
    "subject": {"proxy": {"balancing": "Subject"}},
    "everything": {
        "proxy": {
            "tls": {"secretName": "tls"},
            "authentication": {"apiKeys": {"secretName": "keys", "header": API_KEY_HEADER}},
            "balancing": "Subject",
            "rateLimit": {
                "scope": "Cluster",
                "rules": [
                    {"name": "each-subject", "subject": {"type": "Distinct"}, "limit": _ENOUGH},
                    {"name": "each-client", "client": {"type": "Distinct", "from": "APIKey"}, "limit": _ENOUGH},
                ],
            },
        }
    },
}
"""By name. The first is the measure, with nothing of ours but the way to the broker. The last has all that can be
asked of a proxy on the way of a call; limits are never reached."""


@dataclasses.dataclass
class Cost(Watch):
    """The CPU that the proxy uses in the measured time; tells another watch too."""

    proxy: int
    then: Watch
    seconds: float = 0.0

    def begin(self, pid: int) -> None:
        self.seconds = -cpu_of(self.proxy)
        self.then.begin(pid)

    def end(self) -> None:
        self.seconds += cpu_of(self.proxy)
        self.then.end()

    def of_each(self, messages: float) -> float:
        """Microseconds of each message or call."""
        return self.seconds / max(1.0, messages) * 1e6


@contextlib.contextmanager
def in_front(server: Server, name: str) -> Iterator[tuple[Server, int]]:
    """A proxy of this name before a server and its replica; where both are reached now, and the proxy's process id."""
    backends = [int(one.rpartition(":")[2]) for one in (server.target, server.other) if one]
    with asyncio.Runner() as runner, tempfile.TemporaryFile() as log:
        change = _bare if name == "bare" else lambda _: None
        running = running_envoy(SPECS[name], backends, secrets=_secrets(name), log=log, change=change)
        proxy = runner.run(running.__aenter__())
        try:
            runner.run(proxy.until_healthy(len(backends)))
            pid = _pinned(proxy)
            yield dataclasses.replace(server, target=proxy.address, other=""), pid
        finally:
            runner.run(running.__aexit__(None, None, None))


def _bare(files: dict[str, Any]) -> None:
    """Leave a router, one route, and brokers."""
    listener = files["lds.json"]["resources"][0]
    del listener["listener_filters"], files["envoy.json"]["overload_manager"]
    options = manager(files)
    for name in ("access_log", "early_header_mutation_extensions"):
        del options[name]
    options["http_filters"] = options["http_filters"][-1:]
    host = files["rds.json"]["resources"][0]["virtual_hosts"][0]
    del host["typed_per_filter_config"]
    host["routes"] = [
        {"match": {"prefix": "/"}, "route": {name: route["route"][name] for name in ("cluster", "timeout")}}
        for route in host["routes"]
        if route["match"].get("path") == "/broker.Broker/Publish"
    ]


def _secrets(name: str) -> dict[str, dict[str, bytes]]:
    spec = SPECS[name].get("proxy", {})
    found = {}
    if "tls" in spec:
        with tempfile.TemporaryDirectory() as directory:
            certificate, key = make_certificate(Path(directory), "localhost")
            found["server-tls"] = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}
    if "authentication" in spec:
        found["api-keys"] = keys(SPECS[name], {"benchmark": API_KEY})
    return found


def _pinned(proxy: Proxy) -> int:
    """Keep all its threads on core 1, where there is one; returns its process id."""
    assert proxy.process is not None
    cores = sorted(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{proxy.process.pid}/task").iterdir() if len(cores) > 1 else ():
        os.sched_setaffinity(int(thread.name), {cores[1]})
    return proxy.process.pid
