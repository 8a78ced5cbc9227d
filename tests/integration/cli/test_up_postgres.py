"""`brokerctl up` with storage type Postgres: a database of its own, or the one that the environment names."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from broker.cli.failure import Failure
from broker.cli.up.database import database
from tests.integration.cli.test_up import children, gone, ready
from tests.support.brokerctl import Brokerctl, Running
from tests.support.postgres import shared_server

CLUSTER = """
apiVersion: brokercluster.dev/v1alpha1
kind: BrokerCluster
metadata: {name: orders}
spec:
  storage: {type: Postgres, postgres: {dsnSecretRef: {name: orders-db}, poolSize: 4}}
"""
UP = ("up", "-f", "cluster.yaml", "--listen", "127.0.0.1:0")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can enter, unlike pytest's: as root, PostgreSQL runs as one."""
    with TemporaryDirectory(prefix="brokerctl-test-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        (path / "cluster.yaml").write_text(CLUSTER)
        yield path


@pytest.fixture
def brokerctl(place: Path) -> Brokerctl:
    return Brokerctl(place)


@contextmanager
def up(brokerctl: Brokerctl) -> Iterator[Running]:
    """Run it, and end it in order: a database that still writes has no place in a directory that is deleted."""
    with brokerctl.start(*UP) as running:
        try:
            yield running
        finally:
            running.interrupt()
            code = running.wait()
        assert code == 0


def publish(brokerctl: Brokerctl, running: Running) -> bytes:
    """Publish, and return the id."""
    return brokerctl("pub", "s", "x", "-e", "1h", "--server", ready(running)).stdout


def test_messages_survive_in_a_database_of_its_own(brokerctl: Brokerctl, place: Path) -> None:
    for number in (1, 2):
        with up(brokerctl) as running:
            assert publish(brokerctl, running) == b"%d\n" % number
            assert f"messages are kept in PostgreSQL, in {place}/data/orders/postgres" in running.output()
            pids = children(running)
        assert running.stderr == b""
        assert all(gone(pid) for pid in pids.values())
        output = running.output()
        assert output.index("stopped") < output.index("ENVOY_SIGTERM") < output.index("database system is shut down")


def test_its_brokers_are_one(brokerctl: Brokerctl, place: Path) -> None:
    (place / "cluster.yaml").write_text(f"{CLUSTER}  replicas: 3\n")
    with up(brokerctl) as running:
        address = ready(running)
        assert all(f"/metrics (broker-{number})" in running.output() for number in range(3))
        # Every command has a connection of its own, which Envoy leads to one of the brokers.
        with brokerctl.start("sub", "s", "--server", address, "-s", "earliest") as one:
            with brokerctl.start("sub", "s", "--server", address, "-s", "earliest") as another:
                for number in range(6):
                    done = brokerctl("pub", "s", f"message {number}", "-e", "1h", "--server", address)
                    assert done.stdout == b"%d\n" % (number + 1)
                everything = b"".join(b"message %d\n" % number for number in range(6))
                for subscriber in (one, another):
                    subscriber.wait_for(lambda got=subscriber: got.stdout == everything)  # type: ignore[misc]


def test_what_a_killed_one_leaves_behind_does_not_stop_the_next(brokerctl: Brokerctl) -> None:
    with brokerctl.start(*UP) as running:
        assert publish(brokerctl, running) == b"1\n"
        running.process.send_signal(signal.SIGKILL)
    with up(brokerctl) as running:
        assert publish(brokerctl, running) == b"2\n"


def test_a_killed_database_is_started_again(brokerctl: Brokerctl) -> None:
    with up(brokerctl) as running:
        assert publish(brokerctl, running) == b"1\n"
        os.kill(children(running)["postgres"], signal.SIGKILL)
        running.wait_for_text("postgres started again")
        running.wait_for(lambda: running.output().count("ready to accept connections") == 2)
        assert publish(brokerctl, running) == b"2\n"


def test_data_in_use_is_told(brokerctl: Brokerctl, place: Path) -> None:
    with up(brokerctl) as running:
        ready(running)
        done = brokerctl(*UP)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{place}/data/orders/postgres is in use by another `brokerctl up`" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_the_database_that_the_environment_names_is_used(place: Path) -> None:
    dsn = shared_server().new_database()
    brokerctl = Brokerctl(place, {"BROKER_POSTGRES_DSN": dsn})
    with up(brokerctl) as running:
        assert publish(brokerctl, running) == b"1\n"
        assert f"messages are kept in PostgreSQL, at {dsn.rpartition('@')[2]}" in running.output()
        assert set(children(running)) == {"broker", "envoy"}
        assert dsn not in running.output()
    assert not (place / "data").exists()


def test_a_dsn_that_is_none_is_told_without_quoting_it(place: Path) -> None:
    done = Brokerctl(place, {"BROKER_POSTGRES_DSN": "mysql://a:secret@b/c"})(*UP)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"BROKER_POSTGRES_DSN: this is not a PostgreSQL URI" in done.stderr
    assert b"secret" not in done.stderr


def test_a_number_that_belongs_to_another_program_by_now_is_no_server(place: Path) -> None:
    directory, runtime = place / "postgres", place / "runtime"
    (place / "first").mkdir()
    with database(directory, place / "first", connections=8):
        pass
    (directory / "postmaster.pid").write_text(f"{os.getpid()}\n{directory}\n")
    runtime.mkdir()
    with database(directory, runtime, connections=8) as made:
        assert not (directory / "postmaster.pid").exists()
        assert made.directory == directory


def test_an_interrupted_creation_is_begun_again(place: Path) -> None:
    (place / "postgres.new").mkdir()
    (place / "postgres.new" / "PG_VERSION").write_text("1")
    (place / "runtime").mkdir()
    with database(place / "postgres", place / "runtime", connections=8):
        assert (place / "postgres" / "PG_VERSION").exists()
    assert not (place / "postgres.new").exists()


@pytest.mark.parametrize(
    ("version", "message"), [("9", "there is no PostgreSQL 9"), ("x", "no directory of PostgreSQL")]
)
def test_files_of_another_version_are_told(place: Path, version: str, message: str) -> None:
    (place / "postgres").mkdir()
    (place / "postgres" / "PG_VERSION").write_text(version)
    (place / "runtime").mkdir()
    with pytest.raises(Failure, match=message), database(place / "postgres", place / "runtime", connections=8):
        pass
