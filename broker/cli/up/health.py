"""Asking whether a broker serves, directly or through Envoy, by which door, and whether a database answers."""

import asyncio
import re
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import grpc
from grpc_health.v1 import health_pb2

_PAUSE = 0.05
_SERVICE = "broker.Broker"
_DOOR = re.compile(r'^broker_info\{.*\bdoor="(\w+)"', re.MULTILINE)


async def serving(target: str) -> None:
    """Return when the gRPC health service at an address says that the broker serves."""
    # A pool of its own: another client's failed attempts must not make this one wait.
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        while not await _serves(check):  # noqa: ASYNC110 - it is another process that changes
            await asyncio.sleep(_PAUSE)


async def made(file: Path) -> None:
    """Return when there is such a file."""
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - it is another process that makes it
        await asyncio.sleep(_PAUSE)


async def passing_on(listen: str, stats: str) -> None:
    """Return when Envoy takes connections from clients and knows a healthy broker, whatever clients must prove."""
    host, _, port = listen.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            await asyncio.to_thread(_get, stats, "/brokers")
        except OSError:
            await asyncio.sleep(_PAUSE)
        else:
            return


async def answering(dsn: str) -> None:
    """Return when PostgreSQL takes connections."""
    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=5)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(_PAUSE)
        else:
            return await connection.close()


async def door(page: str) -> str:
    """Return the name of the door that a broker has opened, as its metrics at an HTTP address have it."""
    while True:
        try:
            if found := _DOOR.search(await asyncio.to_thread(_metrics, page)):
                return found[1]
        except OSError:
            pass  # it is started again
        await asyncio.sleep(_PAUSE)


def _metrics(page: str) -> str:
    return _get(page, "/metrics")


def _get(address: str, path: str) -> str:
    with urlopen(f"http://{address}{path}", timeout=5) as response:
        return str(response.read(), "utf-8")


async def _serves(check: "grpc.aio.UnaryUnaryMultiCallable[object, object]") -> bool:
    request = health_pb2.HealthCheckRequest(service=_SERVICE)
    try:
        response = await check(request, timeout=1)
    except grpc.aio.AioRpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)  # type: ignore[attr-defined]
