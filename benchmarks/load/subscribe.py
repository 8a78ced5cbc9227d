"""Subscriptions: one that replays or follows at full speed, and many that follow at a given rate."""

import asyncio
import struct
import time
from collections.abc import Sequence

from benchmarks.load import publish
from benchmarks.load.h2 import Connection, grpc_message
from benchmarks.load.job import Job
from benchmarks.load.meter import Result
from broker.api import broker_pb2

SENT = struct.Struct(">d")  # the first bytes of a fan-out's body: when it was sent


class Subscriber:
    """One subscription that checks that no id is missing, doubled or out of order."""

    def __init__(self, connection: Connection, request: bytes, *, batched: bool, timed: bool = False) -> None:
        self._batched = batched
        self._timed = timed
        self.count = 0
        self.frames = 0
        self.last_id = 0
        self.gaps = 0
        self.ended_early = False
        self.until = 0
        """The id whose arrival completes `reached`."""
        self.latencies: list[float] = []
        loop = asyncio.get_running_loop()
        self.stands = loop.create_future()
        self.reached = loop.create_future()
        connection.call(self, request)

    def opened(self) -> None:
        self.stands.set_result(None)

    def received(self, message: bytes) -> None:
        self.frames += 1
        messages: Sequence[broker_pb2.Message]
        if self._batched:
            messages = broker_pb2.MessageBatch.FromString(message).messages
        else:
            messages = [broker_pb2.Message.FromString(message)]
        if not messages:
            return  # the frame that tells a position
        first, last, count = messages[0].id, messages[-1].id, len(messages)
        if last - first + 1 != count or (self.last_id and first != self.last_id + 1):
            self.gaps += 1
        if self._timed:
            self.latencies.append(time.perf_counter() - SENT.unpack_from(messages[0].body)[0])
        self.count += count
        self.last_id = last
        if self.until and last >= self.until and not self.reached.done():
            self.reached.set_result(time.perf_counter())

    def ended(self, reset: bool) -> None:
        self.ended_early = not self.reached.done()
        for waiter in (self.stands, self.reached):
            if not waiter.done():
                waiter.set_exception(RuntimeError("the server ended a subscription" + " by a reset" * reset))


def request(subject: str = "bench", *, earliest: bool = False) -> bytes:
    start = broker_pb2.SubscribeRequest(subject=subject)
    if earliest:
        start.earliest = True
    return grpc_message(start.SerializeToString())


def path(job: Job) -> str:
    return "/broker.Broker/SubscribeBatch" if job.batched else "/broker.Broker/Subscribe"


async def replay(job: Job) -> Result:
    """Preload `messages` messages, then time one subscription from its first request to the last of them."""
    await publish.preload(job)
    connection = await Connection.open(job.target, path(job))
    job.begin()
    began = time.perf_counter()
    subscriber = Subscriber(connection, request(earliest=True), batched=job.batched)
    subscriber.until = job.messages
    connection.flush()
    seconds = await asyncio.wait_for(subscriber.reached, 120) - began
    job.end()
    connection.close()
    result = Result(subscriber.count, seconds, note=f"{subscriber.count / subscriber.frames:.0f} messages a frame")
    _check(result, [subscriber], job.messages)
    return result


async def live(job: Job) -> Result:
    """One subscription follows while a PublishStream publishes as fast as it is acknowledged."""
    connection = await Connection.open(job.target, path(job))
    subscriber = Subscriber(connection, request(), batched=job.batched)
    connection.flush()
    await asyncio.wait_for(subscriber.stands, 10)
    connections, publishers = await publish.open_publishers(job)
    publish.start(job, connections, publishers)
    await asyncio.sleep(job.warm_up)
    job.begin()
    began, before, frames = time.perf_counter(), subscriber.count, subscriber.frames
    await asyncio.sleep(job.seconds)
    seconds, count = time.perf_counter() - began, subscriber.count - before
    frames = subscriber.frames - frames
    job.end()
    for publisher in publishers:
        publisher.running = False
    await asyncio.wait_for(asyncio.gather(*(publisher.done for publisher in publishers)), 30)
    await _wait_for([subscriber], sum(publisher.acknowledged for publisher in publishers))
    connection.close()
    result = Result(count, seconds, note=f"{count / max(1, frames):.0f} messages a frame")
    _check(result, [subscriber], sum(publisher.acknowledged for publisher in publishers))
    return result


async def fan_out(job: Job) -> Result:
    """`streams` subscriptions on `connections` connections follow subjects that get `rate` messages a second in all.

    With a second replica, that is where they are published.
    """
    names = [f"bench-{number}" for number in range(job.subjects)]
    connections = [await Connection.open(job.target, path(job)) for _ in range(job.connections)]
    subscribers = [
        Subscriber(
            connections[index % len(connections)], request(names[index % len(names)]), batched=job.batched, timed=True
        )
        for index in range(job.streams)
    ]
    for connection in connections:
        connection.flush()
    await asyncio.wait_for(asyncio.gather(*(subscriber.stands for subscriber in subscribers)), 30)
    sender = await Connection.open(job.other or job.target, "/broker.Broker/PublishStream")
    publisher = publish.Publisher(sender, b"", job.frame)
    publisher.closed_loop = False
    job.begin()
    began = time.perf_counter()
    for index in range(int(job.rate * job.seconds) // job.frame // len(names) * len(names)):
        await asyncio.sleep(began + index * job.frame / job.rate - time.perf_counter())
        body = SENT.pack(time.perf_counter()) + bytes(job.body - SENT.size)
        one = broker_pb2.PublishRequest(subject=names[index % len(names)], body=body, expirationSeconds=3600)
        publisher.send(grpc_message(broker_pb2.PublishBatchRequest(messages=[one] * job.frame).SerializeToString()))
        sender.flush()
    # The same number on each subject.
    published = int(job.rate * job.seconds) // job.frame // len(names) * job.frame
    await _wait_for(subscribers, published)
    seconds = time.perf_counter() - began
    job.end()
    for connection in connections:
        connection.close()
    count, frames = (sum(getattr(one, name) for one in subscribers) for name in ("count", "frames"))
    result = Result(count, seconds, note=f"{count / frames:.0f} messages a frame")
    result.latencies = [latency for subscriber in subscribers for latency in subscriber.latencies]
    _check(result, subscribers, published)
    return result


async def _wait_for(subscribers: list[Subscriber], last_id: int) -> None:
    for subscriber in subscribers:
        subscriber.until = last_id
        if subscriber.last_id >= last_id and not subscriber.reached.done():
            subscriber.reached.set_result(time.perf_counter())
    await asyncio.wait({subscriber.reached for subscriber in subscribers}, timeout=30)


def _check(result: Result, subscribers: list[Subscriber], expected: int) -> None:
    missing = sum(expected - subscriber.count for subscriber in subscribers)
    gaps = sum(subscriber.gaps for subscriber in subscribers)
    if missing or gaps:
        result.problems.append(f"{missing} messages missing, {gaps} gaps")
