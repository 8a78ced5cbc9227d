"""A gRPC server that speaks the broker's contract and remembers what reached it: the far side of a proxy."""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from broker.api import broker_pb2 as pb


class Backend:
    """Counts messages by subject; a subscription gets what is published after it stands."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The method of each call, in order."""
        self.subjects: list[str] = []
        """The subject of each message published, in order."""
        self.headers: dict[str, str] = {}
        """What came with the last Publish."""
        self.port = 0
        self.on_message: Callable[[pb.PublishRequest], None] = lambda message: None
        self.health = health.HealthServicer()
        self._queues: defaultdict[str, list[asyncio.Queue[bytes]]] = defaultdict(list)

    async def publish(self, request: bytes, context: Any) -> bytes:
        self.calls.append("Publish")
        self.headers = {str(name): str(value) for name, value in context.invocation_metadata()}
        try:
            message = pb.PublishRequest.FromString(request)
        except Exception:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a PublishRequest")
        return pb.PublishResponse(id=self._take(message)).SerializeToString()

    async def publish_batch(self, request: bytes, context: Any) -> bytes:
        self.calls.append("PublishBatch")
        batch = pb.PublishBatchRequest.FromString(request)
        return pb.PublishBatchResponse(ids=map(self._take, batch.messages)).SerializeToString()

    async def publish_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.calls.append("PublishStream")
        async for request in requests:
            batch = pb.PublishBatchRequest.FromString(request)
            yield pb.PublishBatchResponse(ids=map(self._take, batch.messages)).SerializeToString()

    async def fetch(self, request: bytes, context: Any) -> bytes:
        self.calls.append("Fetch")
        return pb.Message(body=b"fetched").SerializeToString()

    async def subscribe(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.calls.append("Subscribe")
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues[pb.SubscribeRequest.FromString(request).subject].append(queue)
        await context.send_initial_metadata(())
        while True:
            yield pb.Message(body=await queue.get()).SerializeToString()

    def _take(self, message: pb.PublishRequest) -> int:
        self.subjects.append(message.subject)
        self.on_message(message)
        for queue in self._queues[message.subject]:
            queue.put_nowait(message.body)
        return len(self.subjects)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The calls, as bytes."""
        return grpc.method_handlers_generic_handler(
            "broker.Broker",
            {
                "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
                "PublishBatch": grpc.unary_unary_rpc_method_handler(self.publish_batch),
                "PublishStream": grpc.stream_stream_rpc_method_handler(self.publish_stream),
                "Fetch": grpc.unary_unary_rpc_method_handler(self.fetch),
                "Subscribe": grpc.unary_stream_rpc_method_handler(self.subscribe),
            },
        )


@asynccontextmanager
async def running_backend(port: int = 0) -> AsyncIterator[Backend]:
    """A healthy backend on 127.0.0.1."""
    backend = Backend()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((backend.handlers(),))
    health_pb2_grpc.add_HealthServicer_to_server(backend.health, server)
    for service in ("", "broker.Broker"):
        await backend.health.set(service, health_pb2.HealthCheckResponse.SERVING)
    backend.port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield backend
    finally:
        await server.stop(0)


@asynccontextmanager
async def backend_process(journal: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A backend as a child process, and its port. It writes the subject of each message to the journal, a line each."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(journal), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _serve(journal: Path) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with running_backend() as backend:
        backend.on_message = lambda message: void(os.write(descriptor, f"{message.subject}\n".encode()))
        print(backend.port, flush=True)
        await asyncio.Event().wait()


def void(_: object) -> None:
    """Drops a result."""


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
