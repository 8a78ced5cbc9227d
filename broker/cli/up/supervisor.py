"""Keeps programs running: starts them, starts them again when they end, and ends them in order."""

import asyncio
from collections.abc import Callable, Coroutine

from broker.backoff import Backoff
from broker.cli.failure import Failure
from broker.cli.up.child import Child, Program

_STEADY = 10.0
"""A program that ran this long (s) has recovered: its next restart is quick again."""

Say = Callable[[str, str], None]
"""Print a line: (who, what)."""


class Supervisor:
    """Runs programs until told to stop.

    Args:
        say: prints the programs' lines.
        announce: prints our own.
    """

    def __init__(self, say: Say, announce: Callable[[str], None]) -> None:
        self._say = say
        self._announce = announce
        self._children: dict[str, Child] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self, program: Program, healthy: Coroutine[None, None, None]) -> None:
        """Start a program and wait until it is healthy; from then on it is kept running.

        Raises:
            Failure: it ended before it was healthy.
        """
        child = await self._spawn(program)
        ending = asyncio.create_task(child.wait())
        waiting = asyncio.create_task(healthy)
        try:
            await asyncio.wait([ending, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                msg = f"{program.name} ended with {ending.result()} before it was ready; its log above says why"
                raise Failure(msg)
            waiting.result()
        finally:
            waiting.cancel()
        self._keepers[program.name] = asyncio.create_task(self._keep(child, ending))

    async def stop(self, *names: str) -> None:
        """End these programs together, by force where one takes too long."""
        self._stopping = True
        await asyncio.gather(*(self._stop(name) for name in names))

    def kill(self) -> None:
        """Kill everything at once."""
        self._stopping = True
        for keeper in self._keepers.values():
            keeper.cancel()
        for child in self._children.values():
            child.kill()

    async def _stop(self, name: str) -> None:
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()
        child = self._children.get(name)
        if child is None:
            return
        if not await child.stop():
            self._announce(f"{name} did not end within {child.program.grace:g} s and was killed")
        await child.wait()

    async def _spawn(self, program: Program) -> Child:
        child = await Child.start(program, lambda line: self._say(program.name, line))
        self._children[program.name] = child
        return child

    async def _keep(self, child: Child, ending: asyncio.Task[str]) -> None:
        """Start a program again each time it ends."""
        program, clock = child.program, asyncio.get_running_loop().time
        backoff, started = Backoff(first=0.5, longest=30.0), clock()
        while True:
            how = await ending
            if self._stopping:
                return
            if clock() - started > _STEADY:
                backoff.reset()
            pause = backoff.next()
            self._announce(f"{program.name} ended with {how}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            started = clock()
            try:
                child = await self._spawn(program)
            except OSError as error:  # no memory, no process ids: later there may be some
                self._announce(f"{program.name} could not be started: {error}")
                continue
            ending = asyncio.create_task(child.wait())
            self._announce(f"{program.name} started again, process {child.pid}")
