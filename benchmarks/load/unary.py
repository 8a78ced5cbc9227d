"""Unary calls in a closed loop: each answer starts the next call."""

import asyncio
import time

from benchmarks.load.h2 import Connection, grpc_message
from benchmarks.load.job import Job
from benchmarks.load.meter import Result
from broker.api import broker_pb2


class Caller:
    """Keeps some calls of one connection in flight."""

    def __init__(self, connection: Connection, subject: str, body: bytes) -> None:
        self.subject = subject
        self._connection = connection
        request = broker_pb2.PublishRequest(subject=subject, body=body, expirationSeconds=3600)
        self._request = grpc_message(request.SerializeToString())
        self.running = True
        self.measuring = False
        self.pending = 0
        self.done = 0
        self.measured = 0
        self.refused = 0
        self.last_id = 0
        self.latencies: list[float] = []
        self.idle = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self.pending += 1
        self._connection.call(Call(self), self._request)

    def finished(self, started: float, response: bytes | None) -> None:
        self.pending -= 1
        if response:
            self.done += 1
            self.last_id = max(self.last_id, broker_pb2.PublishResponse.FromString(response).id)
            if self.measuring:
                self.measured += 1
                self.latencies.append(time.perf_counter() - started)
        else:
            self.refused += 1
        if self.running:
            self.start()
        elif not self.pending and not self.idle.done():
            self.idle.set_result(None)


class Call:
    """One call: its answer is a message with something in it, or it was refused."""

    __slots__ = ("_caller", "_response", "_started")

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._started = time.perf_counter()
        self._response: bytes | None = None

    def opened(self) -> None:
        """A unary call has nothing to do before its answer."""

    def received(self, message: bytes) -> None:
        self._response = message

    def ended(self, reset: bool) -> None:
        self._caller.finished(self._started, None if reset else self._response)


async def run(job: Job) -> Result:
    """Call `Publish`, with `connections` × `in_flight` calls at once; on each replica a subject of its own."""
    targets = [job.target, job.other] if job.other else [job.target]
    callers, connections = [], []
    for number in range(job.connections):
        target = targets[number % len(targets)]
        connections.append(await Connection.open(target, "/broker.Broker/Publish"))
        callers.append(Caller(connections[-1], f"bench-{target}", bytes(job.body)))
    for caller, connection in zip(callers, connections, strict=True):
        for _ in range(job.in_flight):
            caller.start()
        connection.flush()
    await asyncio.sleep(job.warm_up)
    job.begin()
    for caller in callers:
        caller.measuring = True
    began = time.perf_counter()
    await asyncio.sleep(job.seconds)
    for caller in callers:
        caller.measuring = caller.running = False
    seconds = time.perf_counter() - began
    job.end()
    await asyncio.wait_for(asyncio.gather(*(caller.idle for caller in callers)), 30)
    for connection in connections:
        connection.close()
    result = Result(sum(caller.measured for caller in callers), seconds)
    result.latencies = [latency for caller in callers for latency in caller.latencies]
    done, refused = sum(caller.done for caller in callers), sum(caller.refused for caller in callers)
    last_ids = {caller.subject: 0 for caller in callers}
    for caller in callers:
        last_ids[caller.subject] = max(last_ids[caller.subject], caller.last_id)
    last_id = sum(last_ids.values())
    if refused:
        result.problems.append(f"{refused} of {done + refused} calls refused")
    if job.checked and last_id != done + job.published:
        result.problems.append(f"{done} publishes acknowledged, the last ids are {last_id} in all")
    return result
