"""`await publish()` of the official client, from many tasks at once."""

import asyncio
import time
from collections import Counter

from benchmarks.load import meter
from benchmarks.load.job import Job
from benchmarks.load.meter import Result
from broker.client import Broker, BrokerError, connect


class Publishers:
    """Tasks that publish one message after the other, on a subject each of `subjects` in turn."""

    def __init__(self, broker: Broker, job: Job) -> None:
        self._broker = broker
        self._body = bytes(job.body)
        self.running = True
        self.measuring = False
        self.measured = 0
        self.acknowledged: Counter[str] = Counter()
        self.last_ids: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        subjects = [f"bench-{number}" for number in range(job.subjects)]
        self.tasks = [asyncio.create_task(self._publish(subjects[n % job.subjects])) for n in range(job.in_flight)]

    async def _publish(self, subject: str) -> None:
        clock = time.perf_counter
        while self.running:
            began = clock()
            try:
                message_id = await self._broker.publish(subject, self._body, expires=3600)
            except BrokerError as error:
                self.errors[error.reason] += 1
                continue
            if message_id > self.last_ids[subject]:
                self.last_ids[subject] = message_id
            self.acknowledged[subject] += 1
            if self.measuring:
                self.measured += 1
                self.latencies.append(clock() - began)


async def run(job: Job) -> Result:
    """Publish from `in_flight` tasks to `subjects` subjects over one connection."""
    async with connect(job.target) as broker:
        publishers = Publishers(broker, job)
        await asyncio.sleep(job.warm_up)
        meter.begin()
        publishers.measuring = True
        began = time.perf_counter()
        await asyncio.sleep(job.seconds)
        publishers.measuring = publishers.running = False
        seconds = time.perf_counter() - began
        meter.end()
        await asyncio.wait_for(asyncio.gather(*publishers.tasks), 30)
    result = Result(publishers.measured, seconds, publishers.latencies)
    if publishers.errors:
        result.problems.append(f"errors: {dict(publishers.errors)}")
    if publishers.last_ids != publishers.acknowledged:
        result.problems.append("the last ids are not the numbers of messages acknowledged")
    return result
