"""The database of `up`'s own for storage type Postgres: its files, its program, and where brokers find it.

It listens on a socket in a directory that nobody else may enter, and on no port; so it needs no password.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from broker.cli.failure import Failure
from broker.cli.up.child import Program
from broker.cli.up.pgserver import NEWEST, as_server_user, installation, reachable, server_user

_ROLE = "broker"
_GRACE = 60.0
"""For its last checkpoint (s)."""
_ENDING = 60.0
"""How long a server whose `brokerctl` was killed may take to end (s)."""


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server to run, its DSN, and the directory of its files."""

    program: Program
    dsn: str
    directory: Path


@contextmanager
def database(directory: Path, runtime: Path, connections: int) -> Iterator[Database]:
    """A database in `directory`, made when there is none; ours alone until the end of the context.

    Args:
        directory: of its files.
        runtime: for what is gone at the end.
        connections: that brokers may open.

    Raises:
        Failure: it cannot be made or used; says why and what to do.
    """
    with _alone(directory):
        if not reachable(directory):
            msg = (
                f"PostgreSQL does not run as root, and the user nobody cannot enter {directory}; choose another --data"
            )
            raise Failure(msg)
        version = _version(directory)
        programs = installation(version or NEWEST, _open_to_server(runtime, "installation", 0o755)) / "bin"
        if version is None:
            _create(programs, directory)
        _await_end_of_predecessor(directory)
        socket = _open_to_server(runtime, "socket", 0o700)
        yield Database(_program(programs, directory, socket, connections), _dsn(socket), directory)


def _program(programs: Path, directory: Path, socket: Path, connections: int) -> Program:
    options = {
        "listen_addresses": "",
        # A few are the server's own, and one is for whoever wants to look.
        "max_connections": str(connections + 10),
        "log_checkpoints": "off",
    }
    return Program(
        name="postgres",
        command=(
            *(str(programs / "postgres"), "-D", str(directory), "-k", str(socket)),
            *(argument for name, value in options.items() for argument in ("-c", f"{name}={value}")),
        ),
        grace=_GRACE,
        # It would wait for its clients at SIGTERM.
        stop=signal.SIGINT,
        user=server_user(),
    )


def _dsn(socket: Path) -> str:
    return f"postgresql://{_ROLE}@/postgres?host={quote(str(socket), safe='/')}"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a lock beside the directory, which goes with this process however it ends."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = directory.with_suffix(".lock").open("a")
    except OSError as error:
        msg = f"cannot use the data directory {directory.parent}: {error.strerror}; choose another with --data"
        raise Failure(msg) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"{directory} is in use by another `brokerctl up`: stop it, or choose another directory with --data"
            raise Failure(msg) from None
        yield


def _version(directory: Path) -> int | None:
    """Return the major version that made the files; None when there are none."""
    try:
        return int((directory / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has no version number"
        raise Failure(f"{directory} is no directory of PostgreSQL of ours: {reason}; choose another --data") from None


def _create(programs: Path, directory: Path) -> None:
    """Make the files under another name first: an interrupted attempt leaves nothing that looks like a database."""
    new = directory.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _give_to_server(new)
    initdb = [str(programs / "initdb"), "-D", str(new), "-U", _ROLE, "-A", "trust", "-E", "UTF8", "--locale=C"]
    done = subprocess.run(  # noqa: S603 - a program of the wheel
        as_server_user(initdb), capture_output=True, text=True, cwd=new, check=False
    )
    if done.returncode:
        msg = f"cannot create a database in {directory}: {' '.join(done.stderr.split())}"
        raise Failure(msg)
    try:
        new.rename(directory)
    except OSError as error:
        raise Failure(f"cannot create {directory}: {error.strerror}; choose another --data") from None


def _await_end_of_predecessor(directory: Path) -> None:
    """A server whose `brokerctl` was killed ends by itself, but not at once."""
    deadline = time.monotonic() + _ENDING
    while pid := _running(directory):
        if time.monotonic() > deadline:
            msg = f"PostgreSQL (process {pid}) still runs on {directory}: stop it, or choose another --data"
            raise Failure(msg)
        time.sleep(0.1)


def _running(directory: Path) -> int:
    """Return the process id of the server that runs on these files, or 0."""
    file = directory / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OSError, ValueError):
        return 0  # what a dead server left behind is cleared away by the next one
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and not command.read_bytes().split(b"\0")[0].endswith(b"postgres"):
        # Its number belongs to another program by now, and PostgreSQL would take that one for a server.
        file.unlink(missing_ok=True)
        return 0
    return pid


def _open_to_server(runtime: Path, name: str, mode: int) -> Path:
    """Make a directory that the server's user owns, and can reach."""
    made = runtime / name
    made.mkdir(mode=mode)
    if server_user() is not None:
        runtime.chmod(0o711)
    _give_to_server(made)
    return made


def _give_to_server(directory: Path) -> None:
    user = server_user()
    if user is not None:
        os.chown(directory, user, user)
