"""`brokerctl up`: brokers and Envoy as child processes, and nothing left of them at the end."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokerctl import Brokerctl, Running
from tests.support.brokers import NATIVE

READY = re.compile(r"is ready at (\S+) after")


@pytest.fixture
def brokerctl(tmp_path: Path) -> Brokerctl:
    return Brokerctl(tmp_path)


@pytest.fixture
def up(brokerctl: Brokerctl) -> Iterator[Running]:
    with brokerctl.start("up", "--listen", "127.0.0.1:0") as running:
        ready(running)
        yield running


def ready(running: Running) -> str:
    """Wait until it is ready and return its address."""
    running.wait_for(lambda: "Ctrl-C stops" in running.output() or running.process.poll() is not None)
    found = READY.search(running.output())
    assert found, running.output()
    return found[1]


def children(running: Running) -> dict[str, int]:
    """The process ids of its children, "broker", "envoy" and "postgres"."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == running.process.pid:
                program = command.split(b"\0")[0].rpartition(b"/")[2].decode()
                found[program if program in ("envoy", "postgres") else "broker"] = int(entry.name)
    return found


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_message_goes_through_envoy(up: Running, brokerctl: Brokerctl) -> None:
    address = ready(up)
    with brokerctl.start("sub", "greetings", "--server", address, "-s", "earliest") as subscriber:
        assert brokerctl("pub", "greetings", "hello", "--server", address, "-e", "1h").stdout == b"1\n"
        subscriber.wait_for_text("hello\n")
    assert brokerctl("fetch", "greetings", "1", "--server", address).stdout == b"hello\n"


def test_it_says_which_door_serves(up: Running) -> None:
    assert f"(door: {'native' if NATIVE else 'grpcio'})" in up.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_order(up: Running, number: signal.Signals) -> None:
    pids = children(up)
    assert set(pids) == {"broker", "envoy"}
    up.process.send_signal(number)
    assert up.wait() == 0
    assert all(gone(pid) for pid in pids.values())
    output = up.output()
    assert output.index("stopping") < output.index("stopped") < output.index("ENVOY_SIGTERM")
    assert up.stderr == b""


def test_a_second_ctrl_c_kills(up: Running) -> None:
    pids = children(up)
    os.kill(pids["broker"], signal.SIGSTOP)  # it will not drain
    up.interrupt()
    up.wait_for_text("stopping; once more to kill")
    up.interrupt()
    assert up.wait() == 0
    assert all(gone(pid) for pid in pids.values())


def test_its_own_death_ends_its_children(up: Running) -> None:
    pids = children(up)
    up.process.kill()
    up.wait()  # for the ends of their logs too: they hold the pipe
    for pid in pids.values():
        while not gone(pid):
            os.sched_yield()


@pytest.mark.parametrize("child", ["broker", "envoy"])
def test_a_child_that_dies_is_started_again(up: Running, brokerctl: Brokerctl, child: str) -> None:
    address = ready(up)
    brokerctl("pub", "s", "kept", "-e", "1h", "--server", address)
    with brokerctl.start("sub", "s", "-s", "earliest", "--server", address) as subscriber:
        subscriber.wait_for_text("kept\n")
        os.kill(children(up)[child], signal.SIGKILL)
        up.wait_for_text("started again")
        name = {"broker": "broker-0", "envoy": "proxy"}[child]
        assert f"{name} ended with SIGKILL; starting it again in" in up.output()
        subscriber.wait_for_text("connected again")
        assert brokerctl("pub", "s", "more", "-e", "1h", "--server", address).stdout == b"2\n"
        subscriber.wait_for(lambda: subscriber.stdout == b"kept\nmore\n")


def test_messages_survive(brokerctl: Brokerctl, tmp_path: Path) -> None:
    for number in (1, 2):
        with brokerctl.start("up", "--listen", "127.0.0.1:0", "--data", "here/there") as running:
            address = ready(running)
            assert brokerctl("pub", "s", "x", "-e", "1h", "--server", address).stdout == b"%d\n" % number
            running.interrupt()
            assert running.wait() == 0
    assert (tmp_path / "here/there/local/broker.db").exists()


def test_a_cluster_from_a_file(brokerctl: Brokerctl, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("""
apiVersion: brokercluster.dev/v1alpha1
kind: BrokerCluster
metadata: {name: orders}
spec:
  storage: {type: Memory}
  limits: {maxBodyBytes: 1Ki}
  broker: {resources: {limits: {memory: 1Gi}}}
  proxy:
    replicas: 2
    rateLimit:
      rules:
        - {name: audit, subject: {type: Exact, value: audit}, limit: {requests: 2, unit: Hour}}
""")
    with brokerctl.start("up", "-f", "cluster.yaml", "--listen", "127.0.0.1:0", "--color", "always") as running:
        address = ready(running)
        output = running.output()
        assert "\x1b[" in output
        assert "spec.broker.resources, spec.proxy.replicas: 2 (one Envoy runs)" in output
        assert "in memory, and gone at the end" in output
        limited = [brokerctl("pub", "audit", "x", "--server", address) for _ in range(3)]
        assert [done.returncode for done in limited] == [0, 0, 1]
        assert b"RATE_LIMITED" in limited[2].stderr
        assert brokerctl("pub", "other", "x", "--server", address).returncode == 0
        too_large = brokerctl("pub", "other", "x" * 1025, "--server", address)
        assert b"BODY_TOO_LARGE" in too_large.stderr
    assert not (tmp_path / "data").exists()


def test_lines_faster_than_the_rate_limit_all_arrive(brokerctl: Brokerctl, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("""
apiVersion: brokercluster.dev/v1alpha1
kind: BrokerCluster
metadata: {name: orders}
spec:
  storage: {type: Memory}
  proxy: {rateLimit: {rules: [{name: each, subject: {type: Distinct}, limit: {requests: 50, unit: Second}}]}}
""")
    with brokerctl.start("up", "-f", "cluster.yaml", "--listen", "127.0.0.1:0") as running:
        done = brokerctl("pub", "s", "--server", ready(running), stdin=b"x\n" * 150)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"".join(b"%d\n" % (number + 1) for number in range(150))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cluster.yaml is not YAML"),
        ("kind: Pod", "cluster.yaml has no object of kind BrokerCluster"),
        (
            "{apiVersion: brokercluster.dev/v1alpha1, kind: BrokerCluster, metadata: {name: a}, spec: {replicaz: 1}}",
            "spec.replicaz: unknown field",
        ),
        (
            "{apiVersion: brokercluster.dev/v1alpha1, kind: BrokerCluster, metadata: {name: a}, spec: {replicas: 0}}",
            "nothing to run",
        ),
    ],
)
def test_a_bad_file_is_one_line(brokerctl: Brokerctl, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    done = brokerctl("up", "-f", "cluster.yaml", "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_port_in_use_is_told_before_anything_starts(brokerctl: Brokerctl, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        done = brokerctl("up", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the port is in use" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "data").exists()


def test_data_in_use_is_told(up: Running, brokerctl: Brokerctl) -> None:
    done = brokerctl("up", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert b"broker-0 ended with exit code 1 before it was ready" in done.stderr
    assert up.process.poll() is None
