"""Leadership on virtual time, against an in-memory Lease that can be cut off."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker_operator.kube import Conflict, Kind, Kube, Manifest, NotFound, Unavailable
from broker_operator.leader import Leadership, LeaseTerms
from tests.support.virtual_time import run


class LeaseServer:
    """One Lease with the API server's optimistic lock."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.version = 0

    def seen_by(self, name: str) -> ReplicaView:
        return ReplicaView(self, name)


class ReplicaView:
    """The API server as one replica reaches it."""

    def __init__(self, server: LeaseServer, name: str) -> None:
        self.server = server
        self.name = name
        self.cut = False

    async def get(self, _: Kind, __: str, ___: str) -> Manifest:
        await self._travel()
        if self.server.lease is None:
            raise NotFound("no lease", status=404)
        return copy.deepcopy(self.server.lease)

    async def create(self, _: Kind, manifest: Manifest) -> Manifest:
        await self._travel()
        if self.server.lease is not None:
            raise Conflict("exists", status=409)
        return self._store(manifest)

    async def replace(self, _: Kind, manifest: Manifest) -> Manifest:
        await self._travel()
        assert self.server.lease
        if manifest["metadata"]["resourceVersion"] != self.server.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed", status=409)
        return self._store(manifest)

    def _store(self, manifest: Manifest) -> Manifest:
        self.server.version += 1
        self.server.lease = copy.deepcopy(manifest)
        self.server.lease["metadata"]["resourceVersion"] = str(self.server.version)
        return self.server.lease

    async def _travel(self) -> None:
        await asyncio.sleep(0.01)
        if self.cut:
            raise Unavailable("cut off")


class Replica:
    """A replica whose work is to note that it works."""

    def __init__(self, server: LeaseServer, name: str, working: set[str]) -> None:
        self.view = server.seen_by(name)
        self.name = name
        self.working = working
        self.terms = LeaseTerms("ns", "lease", name)
        self.leadership = Leadership(cast("Kube", self.view), self.terms)
        self.starts = 0
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.leadership.run(self._work))

    async def stop(self) -> None:
        assert self.task
        self.task.cancel()
        await asyncio.wait((self.task,))

    async def _work(self) -> None:
        assert not self.working, f"{self.name} began while {self.working} worked"
        self.working.add(self.name)
        self.starts += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.working.discard(self.name)


def replicas(count: int) -> list[Replica]:
    server, working = LeaseServer(), set[str]()
    made = [Replica(server, f"replica-{number}", working) for number in range(count)]
    for replica in made:
        replica.start()
    return made


async def end(all_of: Sequence[Replica]) -> None:
    for replica in all_of:
        await replica.stop()


def test_one_of_two_works_and_goes_on() -> None:
    async def main() -> None:
        one, two = replicas(2)
        await asyncio.sleep(100)
        assert sorted((one.starts, two.starts)) == [0, 1]
        await end((one, two))

    run(main())


def test_another_takes_over_from_a_silent_leader_after_the_lease_and_not_before() -> None:
    async def main() -> None:
        one, two = replicas(2)
        await asyncio.sleep(10)
        leader, other = (one, two) if one.starts else (two, one)
        leader.view.cut = True
        await asyncio.sleep(10)
        assert leader.working == set(), "it stopped by itself"
        assert other.starts == 0
        await asyncio.sleep(10)
        assert other.starts == 1
        leader.view.cut = False
        await asyncio.sleep(60)
        assert leader.starts == 1, "it stands in line"
        await end((one, two))

    run(main())


def test_after_an_outage_for_all_work_goes_on_without_a_restart() -> None:
    async def main() -> None:
        (one,) = replicas(1)
        await asyncio.sleep(10)
        one.view.cut = True
        await asyncio.sleep(30)
        assert not one.working
        one.view.cut = False
        await asyncio.sleep(3)
        assert one.working == {"replica-0"}
        assert one.task
        assert not one.task.done()
        await end((one,))

    run(main())


def test_a_short_outage_does_not_interrupt_the_work() -> None:
    async def main() -> None:
        (one,) = replicas(1)
        await asyncio.sleep(10)
        one.view.cut = True
        await asyncio.sleep(5)
        one.view.cut = False
        await asyncio.sleep(20)
        assert one.starts == 1
        await end((one,))

    run(main())


def test_a_released_lease_is_taken_at_the_next_look() -> None:
    async def main() -> None:
        one, two = replicas(2)
        await asyncio.sleep(10)
        leader, other = (one, two) if one.starts else (two, one)
        await leader.stop()
        await leader.leadership.release()
        await asyncio.sleep(2.5)
        assert other.starts == 1
        await end((other,))

    run(main())


def test_what_fails_in_the_work_is_raised() -> None:
    async def main() -> None:
        async def failing() -> None:
            raise ZeroDivisionError

        view = cast("Any", LeaseServer().seen_by("one"))
        try:
            await Leadership(view, LeaseTerms("ns", "lease", "one")).run(failing)
        except ZeroDivisionError:
            return
        raise AssertionError("nothing was raised")

    run(main())


@settings(max_examples=30, deadline=None)
# It comes back just as another takes the Lease.
@example([(0, False, 1.2), (0, False, 1.2), (0, True, 8.47675175068951), (0, True, 8.47675175068951), (0, False, 37.6)])
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0.1, 40)), max_size=25))
def test_two_never_work_at_once_and_someone_works_in_the_end(history: list[tuple[int, bool, float]]) -> None:
    async def main() -> None:
        made = replicas(3)
        for number, cut, pause in history:
            made[number].view.cut = cut
            await asyncio.sleep(pause)
        for replica in made:
            replica.view.cut = False
            assert replica.task
            assert not replica.task.done()
        await asyncio.sleep(20)
        assert len(made[0].working) == 1
        await end(made)

    run(main())
