"""A real broker as a child process, on ports of its own."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from typing import Self

_READY = re.compile(r"broker ready listen=(\S+) http=(\S+) .*?(?:peers=(\S+))?$")
_START_LIMIT = 30.0


class BrokerProcess:
    """`python -m broker` on loopback ports; a context manager, plain or async.

    What it logs is printed when the context ends, so pytest shows it with a test that failed.

    Args:
        options: of the command line, e.g. "--store=memory".
        environment: variables beside our own.
    """

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._ready = threading.Event()
        self.address = "127.0.0.1:0"
        """Where it takes calls; the same after a restart."""
        self.http = "127.0.0.1:0"
        """Where it answers /metrics, /livez and /readyz."""
        self.peers = ""
        """Where other brokers follow it, if they may; may change with a restart."""

    @property
    def log(self) -> str:
        """Everything it has printed, over all its starts."""
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self._ready.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "broker", f"--listen={self.address}", f"--http={self.http}", *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()
        if not self._ready.wait(_START_LIMIT) or not self.running:
            self.kill()
            raise AssertionError(f"the broker did not become ready; it said:\n{self.log}")
        return self

    def kill(self) -> None:
        """Kill it (SIGKILL), as a power cut would."""
        self._signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """Ask it to drain and end (SIGTERM); `wait` for the end."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end and return the exit code (minus the signal's number when one ended it)."""
        assert self._process is not None, "the broker was not started"
        code = self._process.wait(timeout)
        if self._reader is not None:
            self._reader.join(timeout)
        return code

    def restart(self) -> None:
        """Start it again on the same ports; first kill it if it runs."""
        if self.running:
            self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP), as a machine that hangs would."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        print(f"--- broker {self.address} {' '.join(self._options)}\n{self.log}---", file=sys.stderr)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.append(line)
                if found := _READY.search(line):
                    self.address, self.http, self.peers = found[1], found[2], found[3] or ""
                    self._ready.set()
        self._ready.set()  # it ended: do not wait for what cannot come
