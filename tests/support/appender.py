"""A process that appends to a SQLite store and prints each acknowledged last id, until it is killed.

Run as: python -m tests.support.appender PATH
"""

import asyncio
import sys
from itertools import count

from broker.store import NewMessage, SqliteStore
from tests.support.stores import append

EVER = 10**15


async def main(path: str) -> None:
    store = SqliteStore(path)
    await store.open()
    for number in count():
        size = number % 20 + 1
        before = (await append(store, {"a": [NewMessage(b"%d" % number, EVER)] * size}, number))["a"]
        assert isinstance(before, int)
        print(before + size, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
