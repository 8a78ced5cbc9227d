import io
import socket
from pathlib import Path

import pytest
import yaml

from broker.cli.failure import Failure
from broker.cli.up import plan, ports
from broker.cli.up.child import Program
from broker.cli.up.cluster import load, not_honoured
from broker.cli.up.console import Console
from broker.cli.up.database import Database


def cluster_file(directory: Path, **spec: object) -> Path:
    file = directory / "cluster.yaml"
    head = {"apiVersion": "brokercluster.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "orders"}}
    file.write_text(yaml.safe_dump(head | {"spec": spec}))
    return file


class TestCluster:
    def test_the_default_is_one_sqlite_broker(self) -> None:
        cluster = load(None)
        assert (cluster.name, cluster.spec.replicas, str(cluster.spec.storage.type)) == ("local", 1, "SQLite")
        assert not_honoured(cluster) == []

    def test_says_what_it_cannot_honour(self, tmp_path: Path) -> None:
        file = cluster_file(
            tmp_path,
            broker={"nodeSelector": {"disk": "fast"}, "drainSeconds": 5},
            proxy={"replicas": 3, "resources": {"limits": {"cpu": "1"}}, "service": {"type": "LoadBalancer"}},
            storage={"type": "SQLite", "sqlite": {"size": "10Gi", "storageClassName": "fast"}},
            monitoring={"labels": {"release": "prometheus"}},
        )
        assert not_honoured(load(file)) == [
            "spec.broker.nodeSelector",
            "spec.proxy.resources",
            "spec.proxy.replicas: 3 (one Envoy runs)",
            "spec.proxy.service",
            "spec.storage.sqlite.storageClassName",
            "spec.monitoring",
        ]

    def test_one_among_other_objects_is_found(self, tmp_path: Path) -> None:
        file = cluster_file(tmp_path)
        file.write_text(f"kind: Namespace\n---\n{file.read_text()}")
        assert load(file).name == "orders"

    def test_two_are_one_too_many(self, tmp_path: Path) -> None:
        file = cluster_file(tmp_path)
        file.write_text(f"{file.read_text()}\n---\n{file.read_text()}")
        with pytest.raises(Failure, match="has 2 objects of kind BrokerCluster"):
            load(file)


class TestPlan:
    def test_brokers_run_as_in_a_pod_but_for_places(self, tmp_path: Path) -> None:
        cluster = load(cluster_file(tmp_path, limits={"maxBodyBytes": "2Mi"}, broker={"drainSeconds": 7}))
        made = plan.plan(cluster, ("127.0.0.1", 4444), tmp_path / "data", tmp_path)
        [(broker, address)] = made.brokers
        command = list(broker.command)
        assert "--max-body=2097152" in command
        assert f"--listen={address}" in command[command.index("--listen=0.0.0.0:50051") :]
        assert command[-1] == f"--sqlite-path={tmp_path / 'data/orders/broker.db'}"
        assert any(argument.startswith("--sqlite-limit=") for argument in command)
        assert broker.grace > 7
        assert made.listen == "127.0.0.1:4444"

    def test_memory_needs_no_directory(self, tmp_path: Path) -> None:
        cluster = load(cluster_file(tmp_path, storage={"type": "Memory"}))
        assert "memory" in plan.plan(cluster, ("127.0.0.1", 4444), tmp_path / "data", tmp_path).kept
        assert not (tmp_path / "data").exists()

    def test_brokers_on_one_database_are_told_of_each_other_and_show_its_dsn_to_nobody(self, tmp_path: Path) -> None:
        storage = {"type": "Postgres", "postgres": {"dsnSecretRef": {"name": "orders-db"}}}
        own = Database(
            Program("postgres", ("postgres",), grace=1.0), "postgresql://a:secret@b/c", tmp_path / "postgres"
        )
        cluster = load(cluster_file(tmp_path, replicas=3, storage=storage))
        made = plan.plan(cluster, ("127.0.0.1", 4444), tmp_path / "data", tmp_path, own)
        doors, others = [], []
        for broker, _ in made.brokers:
            assert broker.environment == {"BROKER_POSTGRES_DSN": own.dsn}
            assert not [argument for argument in broker.command if "secret" in argument or "dsn" in argument]
            given = dict(argument.partition("=")[::2] for argument in broker.command)
            doors.append(given["--peer-listen"])
            others.append(set(given["--peers"].split(",")))
        assert others == [set(doors) - {door} for door in doors]
        assert (made.database, made.kept) == (own, f"PostgreSQL, in {own.directory}")

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file")
        with pytest.raises(Failure, match="--data"):
            plan.plan(load(None), ("127.0.0.1", 4444), tmp_path / "data", tmp_path)

    @pytest.mark.parametrize(
        ("host", "shown"), [("0.0.0.0", "127.0.0.1:1"), ("::", "[::1]:1"), ("10.0.0.1", "10.0.0.1:1")]
    )
    def test_addresses_that_clients_can_use(self, host: str, shown: str) -> None:
        assert plan.address(host, 1) == shown


class TestPorts:
    def test_free_ones_differ(self) -> None:
        assert len(set(ports.free_ports(10))) == 10

    def test_a_taken_one_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(Failure, match="the port is in use"):
                ports.claim("127.0.0.1", taken.getsockname()[1])

    def test_an_address_of_another_machine(self) -> None:
        with pytest.raises(Failure, match="does not have that address"):
            ports.claim("192.0.2.1", 0)

    def test_port_0_is_any(self) -> None:
        host, port = ports.claim("127.0.0.1", 0)
        assert (host, port > 0) == ("127.0.0.1", True)


class TestConsole:
    def test_prefixes_are_as_wide_as_the_longest_name(self) -> None:
        out = io.StringIO()
        console = Console(["a", "long"], "never", out)
        console.line("a", "1")
        console.line("long", "2")
        assert out.getvalue() == "a    | 1\nlong | 2\n"

    def test_each_name_has_its_colour(self) -> None:
        out = io.StringIO()
        console = Console(["a", "b"], "always", out)
        console.line("a", "1")
        console.line("b", "2")
        assert out.getvalue() == "\x1b[36ma |\x1b[0m 1\n\x1b[33mb |\x1b[0m 2\n"

    def test_no_colours_where_nobody_sees_them(self) -> None:
        out = io.StringIO()
        Console(["a"], "auto", out).line("a", "1")
        assert out.getvalue() == "a | 1\n"

    def test_a_reader_that_left_is_told_once(self) -> None:
        class Closed(io.StringIO):
            def flush(self) -> None:
                raise BrokenPipeError

        told: list[bool] = []
        console = Console(["a"], "never", Closed())
        console.on_failure = lambda: told.append(True)
        console.line("a", "1")
        console.line("a", "2")
        assert told == [True]
        assert isinstance(console.failure, BrokenPipeError)
