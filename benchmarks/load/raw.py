"""What PostgreSQL can take at all: rows like the store's, inserted by one prepared statement, without any broker."""

import asyncio
import time

import asyncpg

from benchmarks.load import meter
from benchmarks.load.job import Job
from benchmarks.load.meter import Result

TABLE = """
CREATE TABLE raw (
    subject bigint, id bigint, published_at bigint, expires_at bigint, body bytea, PRIMARY KEY (subject, id)
);
CREATE INDEX ON raw (expires_at)
"""
INSERT = (
    "INSERT INTO raw SELECT 1, id, $1, expires_at, body"
    " FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS row (id, expires_at, body)"
)


async def run(job: Job) -> Result:
    """Insert batches of `in_flight` frames, one after the other: what a broker commits when all of them wait."""
    connection = await asyncpg.connect(job.target)
    await connection.execute(TABLE)
    batch = job.in_flight * job.frame
    bodies, expiries = [bytes(job.body)] * batch, [10**15] * batch
    latencies: list[float] = []

    async def insert_until(end: float) -> None:
        while (began := time.perf_counter()) < end:
            first = 1 + len(latencies) * batch
            await connection.execute(INSERT, 0, range(first, first + batch), expiries, bodies)
            latencies.append(time.perf_counter() - began)

    await insert_until(time.perf_counter() + job.warm_up)
    warm = len(latencies)
    meter.begin()
    began = time.perf_counter()
    await insert_until(began + job.seconds)
    seconds = time.perf_counter() - began
    meter.end()
    await asyncio.wait_for(connection.close(), 10)
    return Result((len(latencies) - warm) * batch, seconds, latencies[warm:])
