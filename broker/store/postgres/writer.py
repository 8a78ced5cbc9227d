"""Append: one statement, one round trip, one commit; more only for a batch that has duplicates."""

from collections.abc import Mapping, Sequence
from itertools import chain, compress, repeat

import asyncpg

from broker.errors import Refused, StoreUnavailable
from broker.store.clock import Clock
from broker.store.columns import Columns, columns_of
from broker.store.contract import NO_DUPLICATES, Appended, Batch, NewMessage
from broker.store.postgres import statements
from broker.store.postgres.connections import Connection, Connections
from broker.store.postgres.errors import FAILURES, is_answer, outcome_unknown, was_never_sent

CACHED_SUBJECTS = 50_000
"""Subjects whose keys are kept in memory (about 150 bytes each)."""

_Messages = Mapping[int, Sequence[NewMessage]]
"""Messages by the keys of their subjects."""


class Writer:
    """Appends batches; several at a time, as long as no two have a subject in common."""

    def __init__(self, connections: Connections, patience: float, clock: Clock) -> None:
        self._connections = connections
        self._patience = patience
        self._clock = clock
        self._keys: dict[str, int] = {}
        connections.opened = self._forget_keys

    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """As Store.append."""

        async def append(connection: Connection) -> dict[str, Appended | Refused]:
            keys = await self._keys_of(connection, batch)
            messages = {keys[name]: messages for name, messages in batch.items()}
            try:
                try:
                    appended = await _append(connection, messages, published_at, keys_until)
                except asyncpg.UniqueViolationError as error:
                    if error.table_name != "keys":
                        raise
                    appended = await self._sift_and_append(connection, messages, published_at, keys_until)
            except FAILURES as error:
                if is_answer(error) or was_never_sent(error):
                    raise
                connection.terminate()
                raise outcome_unknown(error, self._connections.where) from error
            results: dict[str, Appended | Refused] = {
                name: appended[key] for name, key in keys.items() if key in appended
            }
            if len(results) < len(batch):
                self._forget_keys()
                gone = StoreUnavailable(f"subjects have vanished from PostgreSQL at {self._connections.where}")
                results.update(dict.fromkeys(batch.keys() - results.keys(), gone))
            return results

        return await self._connections.run(append, self._patience)

    async def _sift_and_append(
        self, connection: Connection, messages: _Messages, published_at: int, keys_until: int
    ) -> dict[int, Appended]:
        """Append what is new of messages some of which are not."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            last_ids = {row[0]: row[1] for row in await connection.fetch(statements.LOCK, list(messages))}
            asked = [
                (place, key, message.key)
                for key, group in messages.items()
                for place, message in enumerate(group)
                if message.key
            ]
            duplicates: dict[int, dict[int, int]] = {}
            for key, place, known_id in await connection.fetch(
                statements.SIFT, *map(list, zip(*asked, strict=True)), self._clock()
            ):
                duplicates.setdefault(key, {})[place] = known_id
            new = {key: columns_of(messages[key]).without(duplicates.get(key, NO_DUPLICATES)) for key in last_ids}
            new = {key: group for key, group in new.items() if group}
            if new:
                await _append(connection, new, published_at, keys_until)
        except FAILURES as error:
            if is_answer(error):
                await transaction.rollback()
            raise
        await transaction.commit()
        return {key: Appended(last_id, duplicates.get(key, NO_DUPLICATES)) for key, last_id in last_ids.items()}

    def _forget_keys(self) -> None:
        """Trust no key: another server than before, a standby that was behind or a backup, may have other ones."""
        self._keys = {}  # a new one: what is learned just now still goes into the old one

    async def _keys_of(self, connection: Connection, batch: Batch) -> dict[str, int]:
        """Return the keys of a batch's subjects, which are made when they do not exist."""
        known = self._keys
        found = {name: known[name] for name in batch if name in known}
        unknown = batch.keys() - found.keys()
        while missing := unknown - found.keys():
            found |= {row[0]: row[1] for row in await connection.fetch(statements.LEARN, list(missing))}
        if unknown:
            if len(known) + len(unknown) > CACHED_SUBJECTS:
                known.clear()
            known.update((name, found[name]) for name in unknown)
        return found


async def _append(
    connection: Connection, messages: _Messages, published_at: int, keys_until: int
) -> dict[int, Appended]:
    """Append messages that are all new.

    Raises:
        asyncpg.UniqueViolationError: on the table `keys`, when some are not.
    """
    columns = Columns.joined([columns_of(group) for group in messages.values()])
    bodies, expiries, headers = columns.bodies, columns.expiries, columns.headers
    keys = columns.keys or [b""] * len(columns)
    counts = [len(group) for group in messages.values()]
    numbers = list(chain.from_iterable(range(1, count + 1) for count in counts))
    extended = any(headers) or any(keys)
    arguments: list[object]
    places: tuple[Sequence[object], ...]
    if len(messages) == 1:
        statement = statements.EXTENDED_APPEND_TO_ONE if extended else statements.APPEND_TO_ONE
        arguments, places = [*messages, *counts], (numbers,)
    else:
        statement = statements.EXTENDED_APPEND if extended else statements.APPEND
        arguments = [list(messages), counts]
        places = list(chain.from_iterable(map(repeat, messages, counts))), numbers
    arguments += [published_at, *_where(expiries, *places, expiries, bodies)]
    if extended:
        arguments += _where(expiries, headers) if any(headers) else [()]
        arguments += [*_where(keys, *places, keys), keys_until]
    return {row[0]: Appended(row[1]) for row in await connection.fetch(statement, *arguments)}


def _where(conditions: Sequence[object], *columns: Sequence[object]) -> Sequence[Sequence[object]]:
    """Return what the columns have in the rows where the condition is true."""
    return columns if all(conditions) else [list(compress(column, conditions)) for column in columns]
