"""One child process: its log, its end, and that it does not outlive us."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LONGEST_LINE = 64 << 10
_LAUNCHER = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        name: for people.
        command: the program and its arguments.
        grace: how long it may take to end, in seconds, before it is killed.
        environment: beside what we have ourselves.
        stop: the signal that asks it to end.
        user: the number of the user it runs as; None: ourselves.
    """

    name: str
    command: Sequence[str]
    grace: float
    environment: Mapping[str, str] = field(default_factory=dict)
    stop: signal.Signals = signal.SIGTERM
    user: int | None = None


class Child:
    """A running program; both its outputs go line by line to `log`."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Callable[[str], None]) -> None:
        self.program = program
        self._process = process
        self._reader = asyncio.create_task(self._read(log))

    @classmethod
    async def start(cls, program: Program, log: Callable[[str], None]) -> "Child":
        """Start a program in a process group of its own: Ctrl-C reaches us alone, and we end it in order."""
        user = -1 if program.user is None else program.user
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-IS", _LAUNCHER, str(os.getpid()), str(int(program.stop)), str(user)),
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
        return cls(program, process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> str:
        """Wait for its end, and return how it ended: "exit code 1", "SIGKILL"."""
        code = await self._process.wait()
        # A grandchild that holds the pipe must not hold us.
        await asyncio.wait([self._reader], timeout=1)
        self._reader.cancel()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    async def stop(self) -> bool:
        """Ask it to end, and end it by force when it takes longer than its grace.

        Returns:
            False when it had to be killed.
        """
        self._signal(self.program.stop)
        try:
            async with asyncio.timeout(self.program.grace):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        """Kill it and its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self, log: Callable[[str], None]) -> None:
        if self._process.stdout is None:
            return
        rest = b""
        while chunk := await self._process.stdout.read(_LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                log(line.decode(errors="replace"))
        if rest:
            log(rest.decode(errors="replace"))
