"""`python -m benchmarks.load JOB`: put one load and say what was seen, in the way of `benchmarks/loader/`."""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.load import client, raw
from benchmarks.load.job import Job
from benchmarks.load.meter import Result, percentile

KINDS: dict[str, Callable[[Job], Awaitable[Result]]] = {"client": client.run, "raw": raw.run}


async def main(job: Job) -> None:
    gc.disable()
    result = await KINDS[job.kind](job)
    latencies = sorted(result.latencies)
    seen = {
        "count": result.count,
        "rate": result.count / result.seconds,
        "p50_ms": percentile(latencies, 0.50) * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
        "problems": result.problems,
        "note": result.note,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Job.from_json(sys.argv[1])))
