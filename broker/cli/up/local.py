"""A BrokerCluster on this machine, from its start to its end."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from broker.cli.arguments import DEFAULT_SERVER
from broker.cli.failure import Failure
from broker.cli.up.cluster import load, not_honoured
from broker.cli.up.console import Console
from broker.cli.up.database import Database, database
from broker.cli.up.health import answering, door, made, passing_on, serving
from broker.cli.up.plan import DSN_VARIABLE, Plan, plan
from broker.cli.up.ports import claim
from broker.cli.up.secrets import secrets
from broker.cli.up.supervisor import Supervisor
from broker_operator.api import BrokerCluster

_START_LIMIT = 60.0
"""How long everything may take to be healthy, in seconds: opening a large database takes its time."""

_US = "brokerctl"


def up(arguments: argparse.Namespace) -> int:
    """Run a BrokerCluster until a signal ends it; returns the exit code.

    Raises:
        Failure: it cannot be started.
        OSError: nobody reads our output any more.
    """
    cluster = load(arguments.file)
    held = secrets(cluster, arguments.secrets)
    listen = claim(*arguments.listen)
    data = arguments.data.absolute()
    with tempfile.TemporaryDirectory(prefix="brokerctl-") as runtime, _own_database(cluster, data, runtime) as own:
        planned = plan(cluster, listen, data, Path(runtime), own, held)
        asyncio.run(_Local(cluster, planned, arguments.color).run())
    return 0


def _own_database(
    cluster: BrokerCluster, data: Path, runtime: str
) -> contextlib.AbstractContextManager[Database | None]:
    """A database for storage type Postgres where the environment names none."""
    postgres, replicas = cluster.spec.storage.postgres, cluster.spec.replicas
    if postgres is None or os.environ.get(DSN_VARIABLE):
        return contextlib.nullcontext()
    return database(data / cluster.name / "postgres", Path(runtime), connections=replicas * postgres.pool_size)


class _Local:
    def __init__(self, cluster: BrokerCluster, planned: Plan, color: str) -> None:
        self._cluster = cluster
        self._plan = planned
        self._brokers = [program.name for program, _ in planned.brokers]
        self._database = [planned.database.program.name] if planned.database else []
        self._api_keys = [planned.api_keys[0].name] if planned.api_keys else []
        self._console = Console([_US, *self._database, *self._brokers, *self._api_keys, planned.proxy.name], color)
        self._supervisor = Supervisor(self._console.line, self._say)
        self._stop = asyncio.Event()
        self._console.on_failure = self._stop.set

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupt)
        try:
            await self._run_until_stopped()
        finally:
            # Brokers first: through Envoy they answer what they accepted.
            await self._supervisor.stop(*self._brokers)
            await self._supervisor.stop(self._plan.proxy.name, *self._api_keys)
            await self._supervisor.stop(*self._database)
        if self._console.failure is not None:
            raise self._console.failure

    async def _run_until_stopped(self) -> None:
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            stopping.cancel()
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Failure):
                await starting

    async def _start(self) -> None:
        began = time.monotonic()
        self._say(f"starting BrokerCluster {self._cluster.name}: {self._size()} behind Envoy")
        ignored = not_honoured(self._cluster)
        if ignored:
            self._say(f"without meaning on one machine, and left out: {', '.join(ignored)}")
        try:
            async with asyncio.timeout(_START_LIMIT):
                if self._plan.database is not None:
                    await self._supervisor.start(self._plan.database.program, answering(self._plan.database.dsn))
                brokers = (self._supervisor.start(program, serving(at)) for program, at in self._plan.brokers)
                await asyncio.gather(*brokers)
                if self._plan.api_keys is not None:
                    program, file = self._plan.api_keys
                    await self._supervisor.start(program, made(file))
                await self._supervisor.start(self._plan.proxy, passing_on(self._plan.listen, self._plan.stats))
                opened = await door(self._plan.metrics[0])
        except TimeoutError:
            msg = f"not everything was healthy within {_START_LIMIT:g} s; the log above says what was not"
            raise Failure(msg) from None
        self._greet(opened, time.monotonic() - began)

    def _greet(self, opened: str, seconds: float) -> None:
        listen = self._plan.listen
        server = "" if listen == DEFAULT_SERVER else f" --server {listen}"
        proxy = self._cluster.spec.proxy
        server += " --tls-ca CA.CRT" if proxy.tls else ""
        server += " --api-key-file FILE" if proxy.authentication.api_keys else ""
        server += " --token-file FILE" if proxy.authentication.jwt and not proxy.authentication.api_keys else ""
        self._say(f"BrokerCluster {self._cluster.name} is ready at {listen} after {seconds:.1f} s (door: {opened})")
        self._say(f"messages are kept in {self._plan.kept}")
        self._say(f"metrics: http://{self._plan.stats}/stats/prometheus (proxy)")
        for name, at in zip(self._brokers, self._plan.metrics, strict=True):
            self._say(f"         http://{at}/metrics ({name})")
        self._say("try, in two other terminals:")
        self._say(f"    {_ourselves()} sub{server} greetings")
        self._say(f"    {_ourselves()} pub{server} greetings hello")
        self._say("Ctrl-C stops everything")

    def _size(self) -> str:
        return f"{len(self._brokers)} broker{'' if len(self._brokers) == 1 else 's'}"

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._say("killing everything")
            self._supervisor.kill()
            return
        self._say("stopping; once more to kill")
        self._stop.set()

    def _say(self, text: str) -> None:
        self._console.line(_US, text)


def _ourselves() -> str:
    """Return how to call brokerctl in another terminal: `uv run` has it on the PATH of its own children only."""
    own = Path(sys.executable).with_name("brokerctl")
    if "UV_RUN_RECURSION_DEPTH" not in os.environ or not own.exists():
        return "brokerctl"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
