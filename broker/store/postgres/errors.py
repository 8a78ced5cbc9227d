"""What PostgreSQL and the network say, in the words of the store contract."""

import socket
import ssl

import asyncpg

from broker.errors import Refused, StoreFull, StoreUnavailable, Unavailable

_ADVICE = {
    "28P01": "check user and password, or the password file",
    "28000": "check the user, and that pg_hba.conf lets it in from here",
    "3D000": "create the database, as docs/postgres.md says",
    "42501": "the role must own the database, as docs/postgres.md says",
    "53300": "raise max_connections of the server, or lower --postgres-pool",
    "53200": "the server is out of memory",
    "25006": "it is a standby, or was set to read-only: name all hosts in the DSN, or make it writable",
    "57014": "the server took too long; look at its load and locks",
    "55P03": "the server took too long; look at its load and locks",
    "42P01": "a table of the broker is missing: restore the database, or give the broker a new one",
    "3F000": "the schema of the broker is missing: restore the database, or give the broker a new one",
    "42P07": "the schema `broker` holds tables of another program: give the broker a database of its own",
}
"""What to do, by SQLSTATE."""

_DISK_FULL = "53100"

_PASSING = frozenset({"57P01", "57P02", "57P03", "57P05", "25006", "40001", "40P01", "53300"})
"""The server shuts down or starts, is a standby, or asks for another try."""

FAILURES = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)
"""All that a statement or a connection can fail with, but for a bug. TimeoutError is an OSError."""


def is_answer(error: BaseException) -> bool:
    """Whether the server itself said that the statement failed: then its transaction was rolled back.

    A server that shuts down in order says so in place of the answer, and after a commit not before it has confirmed it.
    """
    said = _said(error)
    # One that crashes may say so after the commit.
    unsure = asyncpg.PostgresConnectionError, asyncpg.CrashShutdownError
    return isinstance(said, asyncpg.PostgresError) and not isinstance(said, unsure)


def was_never_sent(error: BaseException) -> bool:
    """Whether the driver kept the statement back: the server has said that it ends the connection, not yet done it."""
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith("cannot switch to state")


def is_passing(error: BaseException) -> bool:
    """Whether the same statement may succeed soon, perhaps on another connection."""
    return not is_answer(error) or sqlstate(error) in _PASSING


def ends_session(error: BaseException) -> bool:
    """Whether the connection is of no use after this error."""
    return not is_answer(error) or sqlstate(error) in ("57P01", "57P02", "57P03", "57P05", "25006")


def sqlstate(error: BaseException) -> str:
    """Return the error's five characters, empty when it is not the server's."""
    return str(getattr(_said(error), "sqlstate", None) or "")


def translate(error: BaseException, where: str) -> Refused:
    """Return the contract's error for one after which nothing was stored."""
    if sqlstate(error) == _DISK_FULL:
        return StoreFull(
            f"the disk of PostgreSQL at {where} is full: {_text(error)}; enlarge it or let messages expire",
            {"limit": "disk"},
        )
    advice = _ADVICE.get(sqlstate(error))
    return StoreUnavailable(f"cannot use PostgreSQL at {where}: {_text(error)}" + (f"; {advice}" if advice else ""))


def outcome_unknown(error: BaseException, where: str) -> Unavailable:
    """Return the error for a connection that failed after a commit was asked for and before it was confirmed."""
    return Unavailable(
        "OUTCOME_UNKNOWN",
        f"PostgreSQL at {where} failed during a commit: {_text(error)}; the messages may or may not be stored",
    )


def _text(error: BaseException) -> str:
    if is_answer(error):
        return str(_said(error))
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if was_never_sent(error):
        return "it ended the connection"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "it is read-only: a standby, or a server set so; name all hosts in the DSN to find the one that is not"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections; is it running?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _said(error: BaseException) -> BaseException:
    """Return the server's last words where they are the reason of a lost connection."""
    cause = error.__cause__
    return cause if isinstance(error, asyncpg.PostgresConnectionError) and cause is not None else error
