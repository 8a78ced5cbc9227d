"""What only a store in a database server can meet: other replicas, restarts, cut connections, refusals."""

import asyncio
import os
import random
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

import broker.store.postgres.connections as connections_module
import broker.store.postgres.migrations as migrations_module
from broker.errors import Refused, StoreFull, StoreUnavailable, Unavailable
from broker.store import NEVER_STORED, Appended, NewMessage, PostgresStore
from broker.store.postgres.migrations import CLEANING_LOCK
from tests.support.cutter import Cutter
from tests.support.postgres import PostgresServer, free_port, new_server, shared_server
from tests.support.stores import FakeClock, append
from tests.support.tls import make_certificate, tls_front

EVER = 10**15
ROOM = 10**9


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    return shared_server()


@pytest.fixture
def dsn(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(dsn: str, clock: FakeClock) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(dsn, clock=clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may break."""
    server = new_server()
    yield server
    server.remove()


def name_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


def one(body: bytes = b"x") -> list[NewMessage]:
    return [NewMessage(body, EVER)]


async def refusal(dsn: str, **options: float) -> str:
    store = PostgresStore(dsn, patience=options.get("patience", 0.5))
    with pytest.raises(StoreUnavailable) as refused:
        await store.open()
    assert "local-only" not in refused.value.message, "the password is told"
    return refused.value.message


async def all_of(store: PostgresStore, subject: str) -> list[bytes]:
    """Return all bodies of a subject, whose ids have no hole."""
    bodies: list[bytes] = []
    while True:
        page = await store.read(subject, len(bodies), 1000, ROOM)
        assert [message.id for message in page.messages] == list(
            range(len(bodies) + 1, len(bodies) + len(page.messages) + 1)
        )
        bodies += [message.body for message in page.messages]
        if page.complete:
            assert page.last_id == len(bodies)
            return bodies


# --- several replicas ---


async def test_replicas_on_the_same_subjects_neither_deadlock_nor_leave_holes(dsn: str, server: PostgresServer) -> None:
    replicas = [PostgresStore(dsn) for _ in range(4)]
    # They start together on an empty database, too.
    await asyncio.gather(*[replica.open() for replica in replicas])
    subjects = [f"subject-{number}" for number in range(10)]
    taken: dict[tuple[str, int], bytes] = {}

    async def publish(number: int, replica: PostgresStore) -> None:
        choice = random.Random(number)
        for turn in range(60):
            names = choice.sample(subjects, choice.randint(1, len(subjects)))
            body = b"%d.%d" % (number, turn)
            batch = {name: one(body) * choice.randint(1, 5) for name in names}
            for name, last_id in (await append(replica, batch, 0)).items():
                assert isinstance(last_id, int)
                for message_id in range(last_id + 1, last_id + len(batch[name]) + 1):
                    assert taken.setdefault((name, message_id), body) is body, "an id was given twice"

    # Two writers in each replica, whose subjects overlap with those of the other replicas.
    await asyncio.gather(*[publish(number, replica) for number, replica in enumerate(replicas)])
    for subject in subjects:
        bodies = await all_of(replicas[0], subject)
        assert {(subject, number): body for number, body in enumerate(bodies, 1)} == {
            key: body for key, body in taken.items() if key[0] == subject
        }
    for replica in replicas:
        await replica.close()
    assert server.sql(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name_of(dsn)}'") == "0"


async def test_ids_are_dense_over_replicas_that_take_turns(dsn: str) -> None:
    replicas = [PostgresStore(dsn) for _ in range(2)]
    for replica in replicas:
        await replica.open()
    for turn in range(20):
        replica = replicas[turn % 2]
        assert await append(replica, {"a": one() * 3, "b": [NewMessage(b"", NEVER_STORED)]}, 0) == {
            "a": 3 * turn,
            "b": turn,
        }
        assert await replicas[1 - turn % 2].heads(["a", "b"]) == {"a": 3 * turn + 3, "b": turn + 1}
    for replica in replicas:
        await replica.close()


async def test_times_rise_with_ids_though_the_replicas_clocks_differ(dsn: str) -> None:
    replicas = [PostgresStore(dsn) for _ in range(2)]
    for replica in replicas:
        await replica.open()
    await append(replicas[0], {"a": one()}, 1000)
    await append(replicas[1], {"a": one(), "b": one()}, 900)
    await append(replicas[0], {"a": one()}, 1001)
    page = await replicas[0].read("a", 0, 10, ROOM)
    assert [message.published_at for message in page.messages] == [1000, 1000, 1001]
    assert [await replicas[1].before("a", time) for time in (900, 1000, 1001, 1002)] == [0, 0, 2, 3]
    assert [message.published_at for message in (await replicas[0].read("b", 0, 10, ROOM)).messages] == [900]
    for replica in replicas:
        await replica.close()


async def test_one_replica_cleans_at_a_time(store: PostgresStore, clock: FakeClock, dsn: str) -> None:
    await append(store, {"a": [NewMessage(b"x", clock.now + 1)] * 10}, clock.now)
    clock.advance(1)
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", CLEANING_LOCK)
        assert await store.expire(100) == 0
    assert await store.expire(100) == 10
    await other.close()


async def test_no_more_connections_than_the_pool_has(dsn: str, server: PostgresServer) -> None:
    store = PostgresStore(dsn, pool=5)
    await store.open()
    calls: list[Awaitable[object]] = [store.read("a", 0, 10, ROOM) for _ in range(50)]
    await asyncio.gather(*calls, *[append(store, {f"s{number}": one()}, 0) for number in range(20)])
    count = server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(dsn)}'")
    assert 2 <= int(count) <= 5
    await store.close()


# --- keys ---


def named(*keys: bytes) -> list[NewMessage]:
    return [NewMessage(b"body of " + key, EVER, key=key) for key in keys]


async def open_replicas(dsn: str, count: int) -> list[PostgresStore]:
    replicas = [PostgresStore(dsn) for _ in range(count)]
    for replica in replicas:
        await replica.open()
    return replicas


async def test_a_key_that_replicas_append_at_the_same_time_is_taken_once(dsn: str, server: PostgresServer) -> None:
    """Each of four replicas appends the same keys, in an order of its own, beside one that cleans."""
    replicas = await open_replicas(dsn, 4)
    subjects = ["a", "b", "c"]
    ids: defaultdict[tuple[str, bytes], set[int]] = defaultdict(set)
    new: list[tuple[str, int]] = []

    async def publish(number: int, replica: PostgresStore) -> None:
        for turn in range(40):
            keys = [b"%d.%d" % (turn, each) for each in range(number, number + 3)]
            keys = keys if number % 2 else keys[::-1]
            batch = {name: named(*keys) for name in subjects[turn % 3 :]}
            for name, result in (await replica.append(batch, 0, EVER)).items():
                assert isinstance(result, Appended)
                next_id = result.last_id
                for place, key in enumerate(keys):
                    taken = result.duplicates.get(place)
                    if taken is None:
                        taken = next_id = next_id + 1
                        new.append((name, taken))
                    ids[name, key].add(taken)

    await asyncio.gather(*[publish(number, replica) for number, replica in enumerate(replicas)])
    assert {len(taken) for taken in ids.values()} == {1}
    assert len(set(new)) == len(new) == len(ids)
    for name in subjects:
        bodies = await all_of(replicas[0], name)
        assert {body: {number} for number, body in enumerate(bodies, 1)} == {
            b"body of " + key: taken for (subject, key), taken in ids.items() if subject == name
        }
    for replica in replicas:
        await replica.close()
    assert server.sql(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name_of(dsn)}'") == "0"


async def test_keys_whose_time_comes_under_load_are_taken_again_and_cleaned_without_deadlocks(
    dsn: str, server: PostgresServer, clock: FakeClock
) -> None:
    replicas = [PostgresStore(dsn, clock=clock) for _ in range(2)]
    for replica in replicas:
        await replica.open()
    keys = [b"%d" % number for number in range(50)]
    taken: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
    """For each key the ids it got, and when it was asked for."""
    publishing = True

    async def publish(replica: PostgresStore, order: list[bytes]) -> None:
        for _ in range(40):
            asked_at = clock.now
            [result] = (await replica.append({"a": named(*order)}, 0, asked_at + 10)).values()
            assert isinstance(result, Appended)
            next_id = result.last_id
            for place, key in enumerate(order):
                if place not in result.duplicates:
                    next_id += 1
                    taken[key][next_id] = asked_at
            clock.advance(3)

    async def clean() -> None:
        while publishing:
            assert await replicas[0].expire(100) == 0

    cleaning = asyncio.create_task(clean())
    await asyncio.gather(publish(replicas[0], keys), publish(replicas[1], keys[::-1]))
    publishing = False
    await cleaning
    assert all(len(ids) > 5 for ids in taken.values()), "keys were taken again"
    assert await replicas[0].heads(["a"]) == {"a": sum(map(len, taken.values()))}
    for replica in replicas:
        await replica.close()
    assert server.sql(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name_of(dsn)}'") == "0"


async def test_a_cut_while_duplicates_are_sifted_out_loses_and_doubles_nothing(
    dsn: str, server: PostgresServer
) -> None:
    """At each reply of the server in turn, up to that of the commit."""
    async with Cutter(server.port) as cutter:
        store = PostgresStore(server.dsn(name_of(dsn), port=cutter.port))
        await store.open()
        await store.append({"a": named(b"k")}, 0, EVER)
        reply, turns, cuts, committed = 1, 0, 0, False
        while not committed:
            turns += 1
            # On this connection everything is prepared afterwards: what is cut are the statements themselves.
            await store.append({"a": named(b"k", b"before %d" % turns)}, 0, EVER)
            batch = {"a": named(b"cut %d" % turns, b"k")}
            cutter.cut_at_reply(reply)
            try:
                await store.append(batch, 0, EVER)
                # There were fewer replies: one of the last time had come in two parts.
                cutter.cut_at_reply(0)
                reply -= 1
            except Unavailable as error:
                reply, cuts = reply + 1, cuts + 1
                committed = batch["a"][0].body in await all_of(store, "a")
                # The first error may have come through before the cut: then it is known that nothing was stored.
                assert error.reason == "OUTCOME_UNKNOWN" or (error.reason == "STORE_UNAVAILABLE" and not committed)
                [result] = (await store.append(batch, 0, EVER)).values()
                assert isinstance(result, Appended)
                assert result.duplicates.keys() == ({0, 1} if committed else {1})
        # What finds the duplicate, the beginning, the lock, the keys, what is new, the commit.
        assert cuts >= 6
        bodies = await all_of(store, "a")
        assert len(set(bodies)) == len(bodies) == 2 * turns + 1
        await store.close()


async def test_the_database_has_an_identity(dsn: str, server: PostgresServer) -> None:
    replicas = await open_replicas(dsn, 2)
    elsewhere = await open_replicas(server.new_database(), 1)
    assert replicas[0].identity == replicas[1].identity != elsewhere[0].identity
    for store in replicas + elsewhere:
        await store.close()


async def test_a_database_of_the_first_release_is_brought_up_to_date(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as first_release:
        first_release.setattr(migrations_module, "_MIGRATIONS", migrations_module._MIGRATIONS[:1])
        connection = await asyncpg.connect(dsn)
        await migrations_module._bring_up_to_date(connection, "here")
        await connection.execute("INSERT INTO broker.subjects (name, last_id) VALUES ('a', 1)")
        await connection.execute("INSERT INTO broker.messages VALUES (1, 1, 0, $1, 'old')", EVER)
        await connection.close()
    [store] = await open_replicas(dsn, 1)
    assert await store.append({"a": named(b"k")}, 0, EVER) == {"a": Appended(1)}
    assert await all_of(store, "a") == [b"old", b"body of k"]
    assert [message and message.headers for message in await store.get([("a", 1)])] == [b""]
    await store.close()


# --- the database goes away and comes back ---


class Publishers:
    """Four tasks on two stores that publish without pause, and remember what was acknowledged."""

    def __init__(self, dsn: str) -> None:
        self.stores = [PostgresStore(dsn, patience=20) for _ in range(2)]
        self.acknowledged: dict[tuple[str, int], bytes] = {}
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.back_again = asyncio.Event()
        """Set when the disturbance is over; each task then publishes ten times more."""

    async def run(self, disturb: Callable[[], object]) -> None:
        for store in self.stores:
            await store.open()
        await asyncio.gather(*[self._publish(number) for number in range(4)], self._disturb(disturb))

    async def _publish(self, number: int) -> None:
        turn = after = 0
        while after < 10:
            turn += 1
            body = b"%d.%d" % (number, turn)
            try:
                batch = {"shared": one(body), f"own-{number}": one(body) * 2}
                last_ids = await append(self.stores[number % 2], batch, 0)
            except Refused as error:
                self.outcomes[error.reason] += 1
                continue
            for name, last_id in last_ids.items():
                assert isinstance(last_id, int)
                self.acknowledged[name, last_id + 1] = body
            self.outcomes["acknowledged"] += 1
            after += self.back_again.is_set()

    async def _disturb(self, disturb: Callable[[], object]) -> None:
        while self.outcomes["acknowledged"] < 50:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(disturb)
        self.back_again.set()

    async def check(self) -> None:
        """Nothing acknowledged is lost, nothing is there twice, ids are dense, and nobody was refused in vain."""
        found = {name: await all_of(self.stores[0], name) for name in ["shared", *[f"own-{n}" for n in range(4)]]}
        for (name, message_id), body in self.acknowledged.items():
            assert found[name][message_id - 1] == body
        shared = found["shared"]
        assert len(set(shared)) == len(shared)
        assert len(shared) <= self.outcomes["acknowledged"] + self.outcomes["OUTCOME_UNKNOWN"]
        assert self.outcomes.keys() <= {"acknowledged", "OUTCOME_UNKNOWN"}, "refused before its patience was over"
        for store in self.stores:
            await store.close()


@pytest.mark.parametrize("how", ["stop", "crash", "kill"])
async def test_nothing_acknowledged_is_lost_when_the_server_restarts_under_load(
    own_server: PostgresServer, how: str
) -> None:
    def restart() -> None:
        if how == "kill":
            own_server.kill()
        else:
            own_server.stop(signal.SIGQUIT if how == "crash" else signal.SIGINT)
        own_server.start()

    publishers = Publishers(own_server.new_database())
    await publishers.run(restart)
    await publishers.check()


async def test_nothing_acknowledged_is_lost_when_a_standby_takes_over(own_server: PostgresServer) -> None:
    dsn = own_server.new_database()
    standby = await asyncio.to_thread(own_server.standby)
    try:

        def fail_over() -> None:
            own_server.kill()
            standby.sql("SELECT pg_promote()")

        publishers = Publishers(dsn.replace(f":{own_server.port}/", f":{own_server.port},127.0.0.1:{standby.port}/"))
        await publishers.run(fail_over)
        await publishers.check()
    finally:
        standby.remove()


async def test_a_cut_between_commit_and_reply_is_an_unknown_outcome(dsn: str, server: PostgresServer) -> None:
    async with Cutter(server.port) as cutter:
        store = PostgresStore(server.dsn(name_of(dsn), port=cutter.port))
        await store.open()
        await append(store, {"a": one(b"1"), "b": one()}, 0)
        cutter.cut_at_reply()
        with pytest.raises(Unavailable) as unknown:
            await append(store, {"a": one(b"2"), "b": one()}, 0)
        assert unknown.value.reason == "OUTCOME_UNKNOWN"
        assert "local-only" not in unknown.value.message
        # It was committed; nothing was published twice, and the next message follows.
        assert await append(store, {"a": one(b"3")}, 0) == {"a": 2}
        assert await all_of(store, "a") == [b"1", b"2", b"3"]
        await store.close()


async def test_a_server_that_falls_silent_is_given_up(
    dsn: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "ANSWER_SECONDS", 0.3)
    async with Cutter(server.port) as cutter:
        store = PostgresStore(server.dsn(name_of(dsn), port=cutter.port), patience=0.5)
        await store.open()
        await append(store, {"a": one(b"1")}, 0)
        cutter.silent = True
        with pytest.raises(Unavailable, match="did not answer in time"):
            await append(store, {"a": one(b"2")}, 0)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await append(store, {"a": one(b"3")}, 0)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await store.heads(["a"])
        cutter.silent = False
        cutter.cut()
        assert (await append(store, {"a": one(b"4")}, 0))["a"] in (1, 2)
        await store.close()


async def test_a_restored_backup_gets_each_message_into_its_own_subject(
    store: PostgresStore, dsn: str, server: PostgresServer
) -> None:
    await append(store, {"a": one(b"1"), "b": one(b"1")}, 0)
    # The backup is older than both subjects; another broker has made them again, in another order.
    server.sql("TRUNCATE broker.messages; TRUNCATE broker.subjects RESTART IDENTITY", name_of(dsn))
    server.sql("INSERT INTO broker.subjects (name) VALUES ('b'), ('a')", name_of(dsn))
    await terminate_all(dsn)
    assert await append(store, {"a": one(b"2") * 3}, 0) == {"a": 0}
    assert await store.heads(["a", "b"]) == {"a": 3, "b": 0}


async def test_subjects_that_vanish_are_told_and_made_again(
    store: PostgresStore, dsn: str, server: PostgresServer
) -> None:
    await append(store, {"a": one(), "b": one()}, 0)
    server.sql("DELETE FROM broker.subjects WHERE name = 'a'", name_of(dsn))
    results = await append(store, {"a": one(), "b": one()}, 0)
    assert isinstance(results["a"], StoreUnavailable)
    assert results["b"] == 1
    assert await append(store, {"a": one()}, 0) == {"a": 0}


async def test_idle_connections_that_were_cut_are_replaced_unnoticed(store: PostgresStore, dsn: str) -> None:
    for _ in range(3):
        await append(store, {"a": one()}, 0)
        await store.heads(["a"])
        await terminate_all(dsn)
        assert await store.heads(["a"]) == await store.heads(["a"])
    assert await append(store, {"a": one()}, 0) == {"a": 3}


@pytest.mark.parametrize("turns", range(6))
async def test_a_commit_on_a_connection_that_the_server_is_ending_is_sent_on_another(
    store: PostgresStore, dsn: str, turns: int
) -> None:
    """The server's last words have come and its end has not: nothing is sent, so nothing is unknown."""
    await append(store, {"a": one()}, 0)
    name = name_of(dsn)
    # This blocks the event loop, so all that the server said waits to be read.
    shared_server().sql(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND pid <> pg_backend_pid()"
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await append(store, {"a": one()}, 0) == {"a": 1}


async def terminate_all(dsn: str) -> None:
    """Cut all connections to a database, and wait until they are gone."""
    name = name_of(dsn)
    server = shared_server()
    others = f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    server.sql(f"SELECT pg_terminate_backend(pid) {others}")
    while server.sql(f"SELECT count(*) {others}") != "0":
        await asyncio.sleep(0.01)


# --- the server says no ---


async def assert_refused_until(
    store: PostgresStore, expected: str, undo: Callable[[], object], kind: type[Refused] = StoreUnavailable
) -> None:
    """Appends are refused and store nothing, until the cause is undone."""
    head = (await store.heads(["a"]))["a"]
    with pytest.raises(kind, match=expected):
        await append(store, {"a": one(b"refused")}, 0)
    undo()
    assert await append(store, {"a": one(b"taken")}, 0) == {"a": head}


async def test_too_many_connections(dsn: str, server: PostgresServer) -> None:
    store = PostgresStore(dsn, patience=1.5)
    await store.open()
    await append(store, {"a": one()}, 0)
    server.sql(f"ALTER ROLE {name_of(dsn)} CONNECTION LIMIT 0")
    await terminate_all(dsn)
    with pytest.raises(StoreUnavailable, match=r"too many connections .* --postgres-pool"):
        await append(store, {"a": one()}, 0)
    server.sql(f"ALTER ROLE {name_of(dsn)} CONNECTION LIMIT -1")
    assert await append(store, {"a": one()}, 0) == {"a": 1}
    await store.close()


async def test_a_database_that_turns_read_only_and_back(dsn: str, server: PostgresServer) -> None:
    store = PostgresStore(dsn, patience=1.5)
    await store.open()
    server.sql(f"ALTER DATABASE {name_of(dsn)} SET default_transaction_read_only = on")
    await terminate_all(dsn)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await append(store, {"a": one()}, 0)
    server.sql(f"ALTER DATABASE {name_of(dsn)} RESET default_transaction_read_only")
    assert await append(store, {"a": one()}, 0) == {"a": 0}
    await store.close()


async def test_a_disk_that_the_server_says_is_full(store: PostgresStore, dsn: str, server: PostgresServer) -> None:
    await append(store, {"a": one()}, 0)
    # The server's own answer, without filling a disk.
    server.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;"
        " CREATE TRIGGER full_disk BEFORE INSERT ON broker.messages EXECUTE FUNCTION full_disk()",
        name_of(dsn),
    )
    await assert_refused_until(
        store,
        "disk .* is full",
        lambda: server.sql("DROP TRIGGER full_disk ON broker.messages", name_of(dsn)),
        StoreFull,
    )


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 24 MiB of its own, where the server's user may write."""
    path = Path(tempfile.mkdtemp(prefix="small-disk-"))
    options = "size=24m,mode=0777"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        path.rmdir()
        pytest.skip(f"this user cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


async def test_a_full_disk_takes_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, own_server: PostgresServer
) -> None:
    tables = small_disk / "tables"
    tables.mkdir()
    owner = own_server.data.stat()
    os.chown(tables, owner.st_uid, owner.st_gid)
    tables.chmod(0o700)
    dsn = own_server.new_database()
    own_server.sql(f"CREATE TABLESPACE small LOCATION '{tables}'")
    own_server.sql(f"ALTER DATABASE {name_of(dsn)} SET TABLESPACE small")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    store = PostgresStore(dsn)
    await store.open()
    appended = 0

    async def append_next() -> None:
        nonlocal appended
        messages = [NewMessage(b"%04d" % appended * 500, EVER, b"", b"%d.%d" % (appended, n)) for n in range(20)]
        assert await store.append({"a": messages}, 0, EVER) == {"a": Appended(20 * appended)}
        appended += 1

    async def fill() -> None:
        while True:
            await append_next()

    for _ in range(3):
        with pytest.raises(StoreFull, match="enlarge it or let messages expire"):
            await fill()
        assert await store.heads(["a"]) == {"a": 20 * appended}
    assert appended > 10
    # Neither ids nor keys are taken by what was refused.
    ballast.unlink()
    for _ in range(20):
        await append_next()
    assert await all_of(store, "a") == [b"%04d" % number * 500 for number in range(appended) for _ in range(20)]
    await store.close()


async def test_a_statement_that_takes_too_long(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections_module._SETTINGS, "statement_timeout", "100ms")
    store = PostgresStore(dsn)
    await store.open()
    await append(store, {"a": one()}, 0)
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE broker.messages IN EXCLUSIVE MODE")
    with pytest.raises(StoreUnavailable, match="took too long"):
        await append(store, {"a": one()}, 0)
    await transaction.rollback()
    assert await append(store, {"a": one()}, 0) == {"a": 1}
    await other.close()
    await store.close()


async def test_commits_wait_for_the_disk_even_where_the_role_would_not(dsn: str, server: PostgresServer) -> None:
    server.sql(f"ALTER ROLE {name_of(dsn)} SET synchronous_commit = off")
    store = PostgresStore(dsn)
    await store.open()
    async with store._writing._lend(10**9, lambda _: True) as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await store.close()


# --- what cannot be opened ---


async def test_a_newer_schema_is_refused(store: PostgresStore, dsn: str, server: PostgresServer) -> None:
    server.sql("UPDATE broker.version SET version = 99", name_of(dsn))
    message = await refusal(dsn)
    assert "version 99" in message
    assert "newer release" in message


async def test_another_programs_schema_is_refused(dsn: str, server: PostgresServer) -> None:
    server.sql(
        f"CREATE SCHEMA broker AUTHORIZATION {name_of(dsn)}; CREATE TABLE broker.messages (theirs text)", name_of(dsn)
    )
    assert "another program" in await refusal(dsn)
    assert server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'broker'", name_of(dsn)) == "1"


async def test_a_wrong_password_is_named_and_not_told(dsn: str, server: PostgresServer) -> None:
    message = await refusal(server.dsn(name_of(dsn), "wrong-secret"))
    assert "password authentication failed" in message
    assert "wrong-secret" not in message


async def test_a_missing_database_is_named(dsn: str, server: PostgresServer) -> None:
    message = await refusal(dsn.removesuffix(name_of(dsn)) + "nowhere")
    assert '"nowhere" does not exist' in message
    assert "docs/postgres.md" in message


async def test_a_role_without_rights_is_told_what_it_lacks(dsn: str, server: PostgresServer) -> None:
    server.sql(f"ALTER DATABASE {name_of(dsn)} OWNER TO postgres")
    assert "must own the database" in await refusal(dsn)


async def test_a_database_in_another_encoding_is_refused(dsn: str, server: PostgresServer) -> None:
    name = name_of(dsn)
    server.sql(f"CREATE DATABASE {name}_ascii OWNER {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    assert "UTF8" in await refusal(f"{dsn}_ascii")


async def test_a_server_that_is_not_there_is_named(dsn: str) -> None:
    port = free_port()
    assert f"127.0.0.1:{port}" in (message := await refusal(f"postgresql://me:local-only@127.0.0.1:{port}/broker"))
    assert "refuses connections" in message
    assert "cannot be resolved" in await refusal("postgresql://me:local-only@no-such-host.invalid/broker")


@pytest.mark.parametrize(
    "dsn",
    [
        "host=localhost password=secret", "broker:secret@localhost/broker", "postgresql://me:sec/ret@localhost/broker",
        "postgresql://me:sec#ret@localhost/broker", "postgresql://me:sec?ret@localhost/broker", "mysql://me:secret@h/b",
        "postgresql://me:secret@[::1/b", "",
    ],
)  # fmt: skip
def test_a_mistyped_dsn_is_explained_without_quoting_it(dsn: str) -> None:
    with pytest.raises(ValueError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as refused:
        PostgresStore(dsn)
    assert "sec" not in str(refused.value)


# --- passwords that change ---


async def test_the_password_file_is_read_for_each_connection(dsn: str, server: PostgresServer, tmp_path: Path) -> None:
    name = name_of(dsn)
    file = tmp_path / "password"
    store = PostgresStore(server.dsn(name, "not-this-one"), password_file=file, patience=1.5)
    with pytest.raises(StoreUnavailable, match=r"password file .* cannot be read: No such file"):
        await store.open()
    file.write_text("local-only\n")
    await store.open()
    server.sql(f"ALTER ROLE {name} PASSWORD 'rotated'")
    assert await append(store, {"a": one()}, 0) == {"a": 0}
    await terminate_all(dsn)
    with pytest.raises(StoreUnavailable, match="password authentication failed"):
        await append(store, {"a": one()}, 0)
    file.write_text("rotated")
    assert await append(store, {"a": one()}, 0) == {"a": 1}
    await store.close()


# --- TLS ---


async def test_tls_checks_the_servers_certificate_and_name(dsn: str, server: PostgresServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "localhost")
    other, _ = make_certificate(tmp_path, "elsewhere")
    async with tls_front(server.port, certificate, key) as port:
        checked = server.dsn(name_of(dsn), port=port) + "?sslmode=verify-full&sslrootcert="
        store = PostgresStore(f"{checked.replace('127.0.0.1', 'localhost')}{certificate}")
        await store.open()
        assert await append(store, {"a": one()}, 0) == {"a": 0}
        await store.close()
        assert "certificate is not accepted" in await refusal(f"{checked}{certificate}")
        assert "certificate is not accepted" in await refusal(f"{checked.replace('127.0.0.1', 'localhost')}{other}")
        assert "No such file" in await refusal(f"{checked}{tmp_path}/missing.crt")


# --- the rest ---


async def test_no_table_is_read_whole_though_all_was_planned_while_they_were_empty(
    dsn: str, server: PostgresServer, clock: FakeClock
) -> None:
    store = PostgresStore(dsn, pool=2, clock=clock)
    await store.open()
    server.sql("ALTER TABLE broker.keys SET (autovacuum_enabled = off)", name_of(dsn))
    server.sql("ALTER TABLE broker.messages SET (autovacuum_enabled = off)", name_of(dsn))

    async def use() -> None:
        for _ in range(8):  # from the sixth time on, plans stay
            await store.append({"a": named(b"k") + one()}, 0, clock.now + 1)
            await store.append({"a": named(b"k")}, 0, clock.now + 1)
            await store.get([("a", 1)])
            await store.read("a", 0, 1, ROOM)
            await store.before("a", 0)
            await store.heads(["a"])
            clock.advance(1)
            await store.expire(10)

    for table in ("keys", "messages"):
        server.sql(f"DELETE FROM broker.{table}", name_of(dsn))
    await use()
    rows = 20_000
    server.sql(
        f"INSERT INTO broker.keys SELECT 99, n, {EVER}, int8send(n) FROM generate_series(1, {rows}) AS n;"
        f" INSERT INTO broker.messages SELECT 99, n, 0, {EVER}, '' FROM generate_series(1, {rows}) AS n",
        name_of(dsn),
    )
    await use()
    # The counts of a connection are complete when it has ended.
    await store.close()
    read = server.sql(
        "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = 'broker' AND relname <> 'version'",
        name_of(dsn),
    )
    assert int(read) < rows


@pytest.mark.parametrize("version", [18])
async def test_other_releases_of_the_server(version: int, clock: FakeClock) -> None:
    server = new_server(version)
    try:
        store = PostgresStore(server.new_database(), clock=clock)
        await store.open()
        batch = {"a": one(b"1") * 300, "b": [NewMessage(b"x" * 10_000, clock.now + 1)] * 5}
        for turn in range(10):
            assert await append(store, batch, turn) == {"a": 300 * turn, "b": 5 * turn}
        clock.advance(1)
        assert await store.expire(100) == 50
        assert await store.before("a", 5) == 1500
        assert [message is not None for message in await store.get([("a", 7), ("b", 7)])] == [True, False]
        assert len(await all_of(store, "a")) == 3000
        await store.close()
    finally:
        server.remove()


async def test_a_closed_store_says_so_and_opens_again(store: PostgresStore) -> None:
    await append(store, {"a": one()}, 0)
    await store.close()
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.heads(["a"])
    await store.open()
    assert await store.heads(["a"]) == {"a": 1}


async def test_calls_under_way_finish_before_it_closes(store: PostgresStore) -> None:
    appends = [asyncio.create_task(append(store, {f"s{number}": one()}, 0)) for number in range(20)]
    reads = [asyncio.create_task(store.read("a", 0, 10, ROOM)) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert [result for append in appends for result in (await append).values()] == [0] * 20
    await asyncio.gather(*reads)
