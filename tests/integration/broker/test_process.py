"""How the process starts, reads its settings, and says what is wrong."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind, metric
from tests.support.stores import database_of
from tests.support.wire import message, wire

WRONG = {
    "listen": "127.0.0.1:70000",
    "http": "nowhere",
    "store": "redis",
    "memory-limit": "1.5Gi",
    "max-body": "128Mi",  # larger than the queue
    "max-expiration": "2147483648",
    "drain-timeout": "nan",
    "log-format": "xml",
}


def run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)


async def test_every_option_by_the_environment(kind: Kind, tmp_path: Path, subject: str) -> None:
    environment = {
        "BROKER_STORE": kind.store,
        "BROKER_DOOR": kind.door,
        "BROKER_SQLITE_PATH": str(tmp_path / "by-environment.db"),
        "BROKER_SQLITE_LIMIT": "64Mi",
        "BROKER_MEMORY_LIMIT": "64Mi",
        "BROKER_MAX_BODY": "1Ki",
        "BROKER_MAX_EXPIRATION": "60",
        "BROKER_MAX_QUEUE_MESSAGES": "1000",
        "BROKER_MAX_QUEUE_BYTES": "1M",
        "BROKER_MAX_SUBSCRIPTIONS": "1",
        "BROKER_SUBSCRIPTION_QUEUE_BYTES": "64k",
        "BROKER_DELIVERY_QUEUE_BYTES": "1Mi",
        "BROKER_CACHE_BYTES": "0",
        "BROKER_DRAIN_TIMEOUT": "1.5",
        "BROKER_LOG_FORMAT": "json",
        "BROKER_LOG_LEVEL": "info",
    }
    if kind.store == "postgres":
        environment |= {"BROKER_POSTGRES_DSN": database_of(tmp_path), "BROKER_PEER_LISTEN": "127.0.0.1:0"}
    with BrokerProcess(environment=environment) as broker:
        lines = [json.loads(line) for line in broker.log.splitlines()]
        assert {line["level"] for line in lines} == {"info"}
        assert f"store={kind.store} door={kind.door}" in lines[-1]["message"]
        assert (tmp_path / "by-environment.db").exists() == (kind.store == "sqlite")
        assert await metric(broker, "broker_store_limit_bytes") in (0, 64 << 20)
        async with wire(broker.address) as client:
            for bad, reason in (
                (message(subject, bytes(1025)), "BODY_TOO_LARGE"),
                (message(subject, b"", 61), "EXPIRATION_TOO_LONG"),
            ):
                failure = await client.failure("Publish", bad)
                assert failure.reason == reason
                assert failure.metadata["limit"] in ("1024", "60")
            assert await client.publish(subject, bytes(1024), 60) == 1
            await client.subscribed(subject)
            assert (await client.subscribe(subject).failure()).reason == "SUBSCRIPTIONS_FULL"


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_value_ends_with_one_line(option: str) -> None:
    """The unit tests have every option and more values."""
    ended = run(f"--{option}={WRONG[option]}")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"--{option}" in ended.stderr


def test_a_wrong_value_in_the_environment_ends_with_one_line() -> None:
    ended = run(environment={"BROKER_STORE": "redis"})
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "BROKER_STORE" in ended.stderr


@pytest.mark.parametrize("option", ["listen", "http"])
def test_an_address_that_is_taken_ends_with_one_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(f"--{option}={address}", "--store=memory")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"cannot listen on {address}" in ended.stderr
    assert "Address already in use" in ended.stderr


def test_a_second_broker_does_not_share_the_port_of_the_first() -> None:
    with BrokerProcess("--store=memory") as broker:
        ended = run(f"--listen={broker.address}", "--store=memory")
        assert ended.returncode == 1
        assert broker.address in ended.stderr


def test_a_database_that_cannot_be_made_ends_with_one_line(tmp_path: Path) -> None:
    ended = run("--store=sqlite", f"--sqlite-path={tmp_path / 'missing' / 'broker.db'}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert str(tmp_path / "missing") in ended.stderr


def test_help_and_unknown_options() -> None:
    helped = run("--help")
    assert helped.returncode == 0
    assert all(f"--{option}" in helped.stdout for option in WRONG)
    ended = run("--colour=blue")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


async def test_interrupt_ends_it_like_terminate(kind: Kind, tmp_path: Path) -> None:
    with kind.process(tmp_path) as broker:
        assert re.search(r"ready listen=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+ store=", broker.log)
        os.kill(broker.pid, signal.SIGINT)
        assert await asyncio.to_thread(broker.wait, 20) == 0
