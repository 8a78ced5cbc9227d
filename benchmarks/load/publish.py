"""PublishStream in a closed loop: a window of frames waits for its acknowledgements."""

import asyncio
import time
from collections import deque

from benchmarks.load.h2 import Connection, grpc_message
from benchmarks.load.job import Job
from benchmarks.load.meter import Result
from broker.api import broker_pb2


class Publisher:
    """One PublishStream; every frame is the same bytes."""

    def __init__(self, connection: Connection, frame: bytes, messages: int) -> None:
        self._connection = connection
        self._frame = frame
        self._messages = messages
        self._sent: deque[float] = deque()
        self._stream = connection.call(self)
        self.left: int | None = None
        """Frames still to send; None: until `running` is false."""
        self.running = True
        self.closed_loop = True
        """Whether each acknowledgement sends the next frame."""
        self.measuring = False
        self.acknowledged = 0
        self.measured = 0
        self.refused = 0
        self.last_id = 0
        self.latencies: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def push(self) -> None:
        """Send a frame, or end the stream when there are no more."""
        if self.left is not None:
            self.running = self.left > 0
            self.left -= 1
        if self.running:
            self.send(self._frame)
        elif not self._sent:
            self._connection.finish(self._stream)

    def send(self, frame: bytes) -> None:
        """Send this frame now."""
        self._sent.append(time.perf_counter())
        self._connection.send(self._stream, frame)

    def opened(self) -> None:
        """Nothing waits for the initial metadata."""

    def received(self, message: bytes) -> None:
        response = broker_pb2.PublishBatchResponse.FromString(message)
        latency = time.perf_counter() - self._sent.popleft()
        accepted = self._messages - len(response.errors)
        self.refused += len(response.errors)
        self.acknowledged += accepted
        self.last_id = max(self.last_id, max(response.ids, default=0))
        if self.measuring:
            self.measured += accepted
            self.latencies.append(latency)
        if self.closed_loop:
            self.push()

    def ended(self, reset: bool) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if reset or self._sent:
            self.refused += len(self._sent) * self._messages


def encoded_frame(job: Job) -> bytes:
    request = broker_pb2.PublishRequest(subject="bench", body=bytes(job.body), expirationSeconds=3600)
    return grpc_message(broker_pb2.PublishBatchRequest(messages=[request] * job.frame).SerializeToString())


async def open_publishers(job: Job) -> tuple[list[Connection], list[Publisher]]:
    frame = encoded_frame(job)
    connections = [await Connection.open(job.target, "/broker.Broker/PublishStream") for _ in range(job.connections)]
    return connections, [Publisher(connection, frame, job.frame) for connection in connections]


def start(job: Job, connections: list[Connection], publishers: list[Publisher]) -> None:
    for connection, publisher in zip(connections, publishers, strict=True):
        for _ in range(job.in_flight):
            publisher.push()
        connection.flush()


async def preload(job: Job) -> None:
    """Publish `messages` messages and wait for their acknowledgements."""
    connections, publishers = await open_publishers(job)
    for publisher in publishers:
        publisher.left = job.messages // job.frame // len(publishers)
    start(job, connections, publishers)
    await asyncio.wait_for(asyncio.gather(*(publisher.done for publisher in publishers)), 120)
    refused = sum(publisher.refused for publisher in publishers)
    if refused:
        raise RuntimeError(f"{refused} messages were refused before the measurement began")
    for connection in connections:
        connection.close()


async def run(job: Job) -> Result:
    """Publish frames on `connections` streams with `in_flight` frames unanswered on each."""
    connections, publishers = await open_publishers(job)
    start(job, connections, publishers)
    await asyncio.sleep(job.warm_up)
    job.begin()
    for publisher in publishers:
        publisher.measuring = True
    began = time.perf_counter()
    await asyncio.sleep(job.seconds)
    for publisher in publishers:
        publisher.measuring = publisher.running = False
    seconds = time.perf_counter() - began
    job.end()
    await asyncio.wait_for(asyncio.gather(*(publisher.done for publisher in publishers)), 30)
    for connection in connections:
        connection.close()
    result = Result(sum(publisher.measured for publisher in publishers), seconds)
    result.latencies = [latency for publisher in publishers for latency in publisher.latencies]
    acknowledged = sum(publisher.acknowledged for publisher in publishers)
    refused = sum(publisher.refused for publisher in publishers)
    last_id = max(publisher.last_id for publisher in publishers)
    if refused:
        result.problems.append(f"{refused} messages refused")
    if last_id != acknowledged:
        result.problems.append(f"{acknowledged} messages acknowledged, the last id is {last_id}")
    return result
