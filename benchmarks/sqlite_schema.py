"""Which layout of a SQLite table takes messages fastest: the measurement behind broker/store/sqlite/database.py.

    python benchmarks/sqlite_schema.py [--seconds 0.8] [--rounds 3] [--directory DIR]

Each layout commits batches of 100-byte messages in write-ahead mode with synchronous=FULL; rounds are interleaved.
"""

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CASES = ((256, 1), (2048, 1), (256, 100), (2048, 100))
"""Messages a batch, and the subjects they are spread over."""

BODIES = (100, 1200)
"""Bytes."""

Row = tuple[int | bytes, ...]

SUBJECTS = "CREATE TABLE subjects (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_id INTEGER NOT NULL)"
COLUMNS = "published_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, body BLOB NOT NULL"
INDEX = "CREATE INDEX by_expiry ON messages (expires_at)"


class Layout(NamedTuple):
    statements: tuple[str, ...]
    insert: str
    row: Callable[[int, int, int, bytes], Row]
    """From key, id, time, body."""


def packed(key: int, message_id: int, time: int, body: bytes) -> Row:
    return (key << 40 | message_id, time, time + 3_600_000, body)


def paired(key: int, message_id: int, time: int, body: bytes) -> Row:
    return (key, message_id, time, time + 3_600_000, body)


PACKED = f"CREATE TABLE messages (position INTEGER PRIMARY KEY, {COLUMNS})"
PAIRED = f"CREATE TABLE messages (subject INTEGER, id INTEGER, {COLUMNS}, PRIMARY KEY (subject, id)) WITHOUT ROWID"
LAYOUTS = {
    "packed rowid": Layout((PACKED,), "INSERT INTO messages VALUES (?, ?, ?, ?)", packed),
    "packed rowid, expiry index": Layout((PACKED, INDEX), "INSERT INTO messages VALUES (?, ?, ?, ?)", packed),
    "WITHOUT ROWID": Layout((PAIRED,), "INSERT INTO messages VALUES (?, ?, ?, ?, ?)", paired),
    "WITHOUT ROWID, expiry index": Layout((PAIRED, INDEX), "INSERT INTO messages VALUES (?, ?, ?, ?, ?)", paired),
}


def measure(layout: Layout, case: tuple[int, int], body: bytes, directory: Path, seconds: float) -> float:
    """Return messages committed a second."""
    messages, subjects = case
    with tempfile.TemporaryDirectory(dir=directory) as place:
        connection = sqlite3.connect(Path(place) / "schema.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        for statement in (SUBJECTS, *layout.statements):
            connection.execute(statement)
        last_ids = dict.fromkeys(range(1, subjects + 1), 0)
        connection.executemany("INSERT INTO subjects VALUES (?, ?, 0)", [(key, str(key)) for key in last_ids])
        turn = 0
        start = now = time.perf_counter()
        while now - start < seconds:
            rows = []
            for number in range(turn, turn + messages):
                key = number % subjects + 1
                last_ids[key] += 1
                rows.append(layout.row(key, last_ids[key], turn, body))
            turn += messages
            rows.sort(key=lambda row: row[:2])
            touched = {number % subjects + 1 for number in range(turn - messages, turn)}
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(layout.insert, rows)
            updates = [(last_ids[key], key) for key in touched]
            connection.executemany("UPDATE subjects SET last_id = ? WHERE key = ?", updates)
            connection.execute("COMMIT")
            now = time.perf_counter()
        connection.close()
    return turn / (now - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.8, help="how long each round measures (default 0.8)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is measured (default 3)")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="where the files go")
    options = parser.parse_args()

    cases = [(name, case, size) for size in BODIES for case in CASES for name in LAYOUTS]
    rates: dict[tuple[str, tuple[int, int], int], list[float]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for name, case, size in cases:
            rate = measure(LAYOUTS[name], case, b"x" * size, options.directory, options.seconds)
            rates[name, case, size].append(rate)
    print("| layout | messages x subjects | body | messages/s, median | spread |")
    print("| --- | --- | --- | --- | --- |")
    for (name, case, size), measured in rates.items():
        spread = f"[{min(measured):,.0f} - {max(measured):,.0f}]"
        print(f"| {name} | {case[0]} x {case[1]} | {size} B | {statistics.median(measured):,.0f} | {spread} |")


if __name__ == "__main__":
    main()
