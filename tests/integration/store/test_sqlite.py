"""What only a store in a file can meet: kill -9, a full or failing disk, other processes, files of others."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import broker.store.sqlite.database as database_module
import broker.store.sqlite.writer as writer_module
from broker.errors import StoreFull, StoreUnavailable, Unavailable
from broker.store import NEVER_STORED, NewMessage, SqliteStore
from broker.store.sqlite.database import MAX_KEY
from tests.support.stores import FakeClock, append

EVER = 10**15
ROOM = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock)
    await store.open()
    yield store
    await store.close()


async def refusal(path: Path) -> str:
    with pytest.raises(StoreUnavailable) as refused:
        await SqliteStore(path).open()
    assert str(path) in refused.value.message
    return refused.value.message


# --- kill -9, and one process at a time ---


async def test_everything_acknowledged_survives_kill_nine(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tests.support.appender", path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child:
        acknowledged = [int(child.stdout.readline()) for _ in range(100)]
        assert "another process" in await refusal(path)
        child.kill()
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    store = SqliteStore(path)
    await store.open()
    page = await store.read("a", 0, 10**6, ROOM)
    assert page.last_id >= acknowledged[-1]
    assert [message.id for message in page.messages] == list(range(1, page.last_id + 1))
    first = 1
    for number, last in enumerate(acknowledged):
        assert {message.body for message in page.messages[first - 1 : last]} == {b"%d" % number}
        first = last + 1
    assert await append(store, {"a": [NewMessage(b"", EVER)]}, 0) == {"a": page.last_id}
    await store.close()


# --- a disk that is full or fails ---


async def test_a_full_store_refuses_whole_batches_and_takes_messages_again_when_some_expired(
    path: Path, clock: FakeClock
) -> None:
    store = SqliteStore(path, clock, max_bytes=400_000)
    await store.open()
    batch = {"a": [NewMessage(b"x" * 1000, clock.now + 1000)] * 10, "b": [NewMessage(b"y", EVER)]}
    appended = 0

    async def fill() -> None:
        nonlocal appended
        while True:
            await append(store, batch, clock.now)
            appended += 1

    with pytest.raises(StoreFull, match=r"size limit .* or the disk is full"):
        await fill()
    assert appended > 20
    assert await store.heads(["a", "b"]) == {"a": appended * 10, "b": appended}
    assert (await store.usage()).bytes <= 400_000 == (await store.usage()).limit
    assert await append(store, {"a": [NewMessage(b"", NEVER_STORED)]}, clock.now) == {"a": appended * 10}
    clock.advance(1000)
    later = clock.now + 1000
    assert await append(store, {"a": [NewMessage(b"z" * 1000, later)] * 100}, clock.now) == {"a": appended * 10 + 1}
    assert await store.expire(10**6) == appended * 10
    assert len((await store.read("a", 0, 10**6, ROOM)).messages) == 100
    await store.close()


async def test_keys_make_room_when_their_time_has_come(path: Path, clock: FakeClock) -> None:
    store = SqliteStore(path, clock, max_bytes=400_000)
    await store.open()
    appended = 0

    async def fill() -> None:
        nonlocal appended
        while True:
            keys = [b"%d.%d" % (appended, number) for number in range(10)]
            await store.append({"a": [NewMessage(b"", NEVER_STORED, key=key) for key in keys]}, 0, clock.now + 1000)
            appended += 1

    with pytest.raises(StoreFull):
        await fill()
    first = appended
    clock.advance(1000)
    with pytest.raises(StoreFull):
        await fill()
    assert appended > 1.8 * first
    await store.close()


async def test_a_nearly_full_disk_takes_only_what_fits_where_messages_expired(
    store: SqliteStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {"a": [NewMessage(b"x" * 1000, clock.now + 1000)] * 100}
    await append(store, batch, clock.now)
    disk = os.statvfs_result((4096, 4096, 10**6, 100, 100, 0, 0, 0, 0, 255))
    monkeypatch.setattr("broker.store.sqlite.disk.os.statvfs", lambda _: disk)
    with pytest.raises(StoreFull, match="nearly full"):
        await append(store, batch, clock.now)
    assert await append(store, {"a": [NewMessage(b"", NEVER_STORED)]}, clock.now) == {"a": 100}
    clock.advance(1000)
    assert await append(store, {"a": [NewMessage(b"y" * 1000, EVER)] * 40}, clock.now) == {"a": 101}
    with pytest.raises(StoreFull, match="nearly full"):
        await append(store, batch, clock.now)


@contextmanager
def failing_disk(largest_file: int) -> Iterator[None]:
    """Let every write beyond this size of a file fail, as the kernel does for a process over its limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_failing_disk_stores_nothing_and_the_store_recovers_by_itself(store: SqliteStore, path: Path) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    with failing_disk(Path(f"{path}-wal").stat().st_size):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="the disk failed"):
                await append(store, {"a": [NewMessage(b"x" * 100_000, EVER)], "new": [NewMessage(b"", EVER)]}, 0)
            assert await store.heads(["a", "new"]) == {"a": 1, "new": 0}
    assert await append(store, {"new": [NewMessage(b"", EVER)], "a": [NewMessage(b"2", EVER)]}, 0) == {"new": 0, "a": 1}
    assert [message.body for message in (await store.read("a", 0, 10, ROOM)).messages] == [b"1", b"2"]


class UnsureConnection(sqlite3.Connection):
    """A connection whose next commit is carried out, and then said to have failed in its sync."""

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
            raise error
        return cursor


async def test_a_commit_whose_outcome_is_unknown_says_so_and_the_file_decides(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    store._writer.close()
    with monkeypatch.context() as patched:
        patched.setattr(
            writer_module, "connect", lambda path, **_: sqlite3.connect(path, factory=UnsureConnection,
                                                                      isolation_level=None, check_same_thread=False)
        )  # fmt: skip
        with pytest.raises(Unavailable) as unknown:
            await append(store, {"a": [NewMessage(b"2", EVER)], "b": [NewMessage(b"", EVER)]}, 0)
    assert unknown.value.reason == "OUTCOME_UNKNOWN"
    assert await append(store, {"a": [NewMessage(b"3", EVER)]}, 0) == {"a": 2}
    assert await append(store, {"c": [NewMessage(b"", EVER)], "b": [NewMessage(b"", EVER)]}, 0) == {"c": 0, "b": 1}


async def test_a_damaged_file_is_reported_and_not_touched(store: SqliteStore, path: Path) -> None:
    await append(store, {"a": [NewMessage(b"x" * 50_000, EVER)]}, 0)
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    message = await refusal(path)
    assert "damaged" in message
    assert "backup" in message
    assert path.stat().st_size == size


async def test_the_log_stays_bounded_though_a_backup_reads_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "WAL_BOUND", 500_000)
    monkeypatch.setattr("broker.store.sqlite.database._BUSY_SECONDS", 0)
    store = SqliteStore(path)
    await store.open()
    batch = {"a": [NewMessage(b"x" * 10_000, EVER)] * 10}
    await append(store, batch, 0)
    backup = sqlite3.connect(path, isolation_level=None)
    backup.execute("BEGIN")
    backup.execute("SELECT count(*) FROM messages").fetchall()
    wal = Path(f"{path}-wal")
    while wal.stat().st_size < 1_500_000:
        await append(store, batch, 0)
    backup.close()
    sizes = []
    for _ in range(20):
        await append(store, batch, 0)
        sizes.append(wal.stat().st_size)
    assert max(sizes[-10:]) < 700_000
    await store.close()


# --- files that cannot be used ---


async def test_a_newer_schema_is_refused(store: SqliteStore, path: Path) -> None:
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    message = await refusal(path)
    assert "version 99" in message
    assert "newer release" in message


async def test_a_file_of_the_first_release_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as first_release:
        first_release.setattr(database_module, "_MIGRATIONS", database_module._MIGRATIONS[:1])
        database_module.prepare(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO subjects (key, name, last_id) VALUES (1, 'a', 1)")
        row = (1 << database_module.ID_BITS | 1, 0, EVER, b"old")
        connection.execute("INSERT INTO messages (position, published_at, expires_at, body) VALUES (?, ?, ?, ?)", row)
    connection.close()
    store = SqliteStore(path)
    await store.open()
    assert await append(store, {"a": [NewMessage(b"new", EVER, b"headers", b"key")]}, 0) == {"a": 1}
    messages = (await store.read("a", 0, 10, ROOM)).messages
    assert [(message.body, message.headers) for message in messages] == [(b"old", b""), (b"new", b"headers")]
    await store.close()


async def test_another_programs_database_is_refused_and_not_changed(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_not_changed(path: Path) -> None:
    path.write_text("a letter to a friend\n" * 1000)
    assert "no SQLite database" in await refusal(path)
    assert path.read_text() == "a letter to a friend\n" * 1000


async def test_a_missing_directory_is_named(path: Path) -> None:
    assert "directory must exist" in await refusal(path.parent / "missing" / "broker.db")


async def test_a_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert "Is a directory" in await refusal(path)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user whom file permissions hold back, when the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("forbid", [lambda path: path.parent.chmod(0o500), lambda path: path.chmod(0o400)])
async def test_missing_permissions_are_named(store: SqliteStore, path: Path, forbid: Callable[[Path], None]) -> None:
    await store.close()
    forbid(path)
    with unprivileged():
        message = await refusal(path)
    path.parent.chmod(0o700)
    assert "Permission denied" in message
    assert "this user" in message


async def test_only_its_user_may_read_the_files(store: SqliteStore, path: Path) -> None:
    await append(store, {"a": [NewMessage(b"secret", EVER)]}, 0)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes) == {"broker.db", "broker.db-wal", "broker.db-shm", "broker.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_file_that_vanished_is_not_made_anew(store: SqliteStore, path: Path) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    await asyncio.to_thread(store._reader.close)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="unable to open"):
        await store.heads(["a"])
    assert not path.exists()


# --- the rest ---


async def test_a_closed_store_says_so_and_opens_again(store: SqliteStore) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    await store.close()
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.heads(["a"])
    await store.open()
    assert await store.heads(["a"]) == {"a": 1}


async def test_after_the_last_subject_new_ones_are_refused_and_known_ones_go_on(store: SqliteStore, path: Path) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO subjects VALUES (?, 'last', 1)", (MAX_KEY,))
    connection.close()
    await store.open()
    results = await append(store, {"new": [NewMessage(b"", EVER)], "a": [NewMessage(b"2", EVER)]}, 0)
    refused = results.pop("new")
    assert isinstance(refused, StoreFull)
    assert refused.metadata == {"limit": "subjects"}
    assert results == {"a": 1}


async def test_calls_under_way_finish_before_it_closes(store: SqliteStore) -> None:
    appends = [asyncio.create_task(append(store, {"a": [NewMessage(b"x", EVER)]}, 0)) for _ in range(20)]
    reads = [asyncio.create_task(store.read("a", 0, 10, ROOM)) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert [(await append)["a"] for append in appends] == list(range(20))
    await asyncio.gather(*reads)
