"""A broker process on PostgreSQL: what its clients, its probes and its log say while the database comes and goes."""

import asyncio
import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.client import EARLIEST, Unavailable, connect
from broker.engine.fetcher import MAX_KEYS
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, http, metric
from tests.support.postgres import PostgresServer, free_port, new_server, shared_server
from tests.support.wire import message, wire

HOUR = timedelta(hours=1)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = new_server()
    yield server
    server.remove()


def on(dsn: str) -> BrokerProcess:
    return BrokerProcess("--store=postgres", environment={"BROKER_POSTGRES_DSN": dsn})


def ready(broker: BrokerProcess) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{broker.http}/readyz") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def health(broker: BrokerProcess) -> int:
    async with grpc.aio.insecure_channel(broker.address) as channel:
        response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return int(response.status)


async def test_messages_survive_the_broker() -> None:
    dsn = shared_server().new_database()
    with on(dsn) as process:
        async with connect(process.address) as broker:
            ids = [await broker.publish("orders", b"%d" % number, expires=HOUR) for number in range(5)]
        process.kill()
    with on(dsn) as process:
        async with connect(process.address) as broker:
            async with broker.subscribe("orders", start=EARLIEST) as subscription:
                assert [(await anext(subscription)).id for _ in ids] == ids == [1, 2, 3, 4, 5]
            assert await broker.publish("orders", b"more") == 6
        assert "store=postgres" in process.log
        assert "local-only" not in process.log


async def test_fetches_at_the_same_time_are_few_queries() -> None:
    """Counted by the database itself, in its log."""
    fetches = 2000
    server = new_server(16, "log_statement=all")
    dsn = server.new_database()
    try:
        # Without a cache each message comes from the database.
        with BrokerProcess("--store=postgres", "--cache-bytes=0", environment={"BROKER_POSTGRES_DSN": dsn}) as process:
            async with wire(process.address) as client:
                for begin in range(0, fetches, 500):
                    await client.publish_batch([message("a", b"%d" % (begin + number)) for number in range(500)])
                # While the first query takes its time, the rest arrives.
                other = await asyncpg.connect(dsn)
                transaction = other.transaction()
                await transaction.start()
                await other.execute("LOCK TABLE broker.messages IN ACCESS EXCLUSIVE MODE")
                calls = [asyncio.create_task(client.fetch("a", message_id)) for message_id in range(1, fetches + 1)]

                async def all_have_arrived() -> bool:
                    return await metric(process, "broker_cache_misses_total") == fetches

                await eventually(all_have_arrived, "all fetches have arrived")
                await transaction.rollback()
                await other.close()
                assert [got.body for got in await asyncio.gather(*calls)] == [b"%d" % n for n in range(fetches)]
        assert 0 < server.log.read_text().count("SELECT asked.place") <= 1 + fetches // MAX_KEYS
    finally:
        server.remove()


async def test_a_database_that_is_away_for_long_makes_the_broker_unready_until_it_is_back(
    own_server: PostgresServer,
) -> None:
    with on(own_server.new_database()) as process:
        async with connect(process.address, wait_for_ready=False) as broker:
            assert await broker.publish("a", b"1") == 1
            assert ready(process) == (200, "ok\n")
            await asyncio.to_thread(own_server.stop)
            with pytest.raises(Unavailable, match="refuses connections"):
                await broker.publish("a", b"2", timeout=30)
            # A short absence is waited out: only after the grace period is the broker taken out of service.
            while (status := ready(process))[0] == 200:
                await asyncio.sleep(0.1)
            assert status[0] == 503
            assert "refuses connections" in status[1]
            while await health(process) != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.1)
            await asyncio.to_thread(own_server.start)
            while ready(process)[0] != 200 or await health(process) != health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.1)
            assert await broker.publish("a", b"3") == 2
        assert "the store is away" in process.log
        assert "the store is back" in process.log
        assert "local-only" not in process.log
        process.terminate()
        assert process.wait() == 0


def waiting(broker: BrokerProcess) -> float:
    with urllib.request.urlopen(f"http://{broker.http}/metrics") as response:
        lines = response.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("broker_queue_messages ")))


async def test_a_drain_without_the_database_answers_everything_and_ends(own_server: PostgresServer) -> None:
    with on(own_server.new_database()) as process:
        async with connect(process.address, wait_for_ready=False) as broker:
            assert await broker.publish("a", b"1") == 1
            await asyncio.to_thread(own_server.stop)
            publishes = [asyncio.create_task(broker.publish("a", b"x", timeout=60)) for _ in range(5)]
            while waiting(process) < len(publishes):
                await asyncio.sleep(0.02)
            process.terminate()
            for outcome in await asyncio.gather(*publishes, return_exceptions=True):
                assert isinstance(outcome, Unavailable)
                assert "refuses connections" in str(outcome)
        assert await asyncio.to_thread(process.wait) == 0


def test_a_broker_that_cannot_log_in_ends_with_the_reason() -> None:
    dsn = shared_server().new_database().replace("local-only", "wrong-secret")
    result = subprocess.run(
        [sys.executable, "-m", "broker", "--store=postgres", "--listen=127.0.0.1:0", "--http=127.0.0.1:0"],
        env={"BROKER_POSTGRES_DSN": dsn}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "password authentication failed" in result.stderr + result.stdout
    assert "wrong-secret" not in result.stderr + result.stdout


async def test_a_broker_that_waits_for_its_database_says_why_and_begins_when_it_can(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """As a pod does whose Secret comes late, is wrong, is mended."""
    file, dsn = tmp_path / "uri", own_server.new_database()
    waiting = BrokerProcess("--store=postgres", f"--postgres-dsn-file={file}", "--store-wait=60")
    waiting.http = f"127.0.0.1:{free_port()}"
    starting = asyncio.create_task(asyncio.to_thread(waiting.start))

    async def says(text: str) -> bool:
        with contextlib.suppress(OSError):
            status, body = await asyncio.to_thread(http, waiting, "/readyz")
            assert status == 503
            return text in body
        return False

    try:
        await eventually(lambda: says(f"the DSN file {file} cannot be read: No such file"), "a missing file is named")
        assert await asyncio.to_thread(http, waiting, "/livez") == (200, "ok\n")
        file.write_text(dsn.replace("local-only", "wrong-secret") + "\n")
        await eventually(lambda: says("password authentication failed"), "a wrong password is named")
        file.write_text(dsn.rpartition("/")[0] + "/nowhere\n")
        await eventually(lambda: says('database "nowhere" does not exist'), "a missing database is named")
        file.write_text(dsn + "\n")
        await starting
        assert await asyncio.to_thread(http, waiting, "/readyz") == (200, "ok\n")
        async with connect(waiting.address) as broker:
            assert await broker.publish("a", b"1") == 1
        assert "local-only" not in waiting.log
        assert "wrong-secret" not in waiting.log
    finally:
        await asyncio.to_thread(waiting.__exit__)


async def test_a_broker_that_waits_for_its_database_ends_at_once_when_told_to(tmp_path: Path) -> None:
    waiting = BrokerProcess("--store=postgres", f"--postgres-dsn-file={tmp_path / 'uri'}", "--store-wait=60")
    starting = asyncio.create_task(asyncio.to_thread(waiting.start))

    async def waits() -> bool:
        return "waiting up to 60 s" in waiting.log

    await eventually(waits, "it waits")
    waiting.terminate()
    assert await asyncio.to_thread(waiting.wait) == 0
    await asyncio.wait([starting])


async def test_a_rotated_uri_reaches_a_running_broker(own_server: PostgresServer, tmp_path: Path) -> None:
    file, dsn = tmp_path / "uri", own_server.new_database()
    role = dsn.rpartition("/")[2]
    file.write_text(dsn)
    with BrokerProcess("--store=postgres", f"--postgres-dsn-file={file}") as process:
        async with connect(process.address, timeout=30) as broker:
            assert await broker.publish("a", b"1", expires=HOUR) == 1
            own_server.sql(f"ALTER ROLE {role} PASSWORD 'another-one'")
            file.write_text(dsn.replace("local-only", "another-one"))
            own_server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
            assert await broker.publish("a", b"2", expires=HOUR) == 2
            assert (await broker.fetch("a", 1)).body == b"1"
        assert "another-one" not in process.log
