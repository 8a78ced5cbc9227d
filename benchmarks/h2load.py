"""Unary `Publish` by h2load, the load client of nghttp2: as fast as calls are answered."""

import math
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import tools
from benchmarks.clocks import Shares, Watch
from benchmarks.errors import BenchError
from benchmarks.load.job import Job
from benchmarks.load.meter import percentile
from benchmarks.proxies import API_KEY, API_KEY_HEADER
from benchmarks.servers import Server, pin
from broker.api import broker_pb2

SMALLEST_ANSWER = 7
"""Bytes of a PublishResponse with its gRPC prefix."""
REQUESTS = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
DATA = re.compile(r"traffic: .*\((\d+)\) data")


def run(job: Job, server: Server, watch: Watch) -> dict[str, Any]:
    """Call `Publish` from `connections` connections with `in_flight` calls each.

    h2load takes HTTP's 200 for success, so what it counts has to be held against what the server counted; here only
    that there were bytes for each answer is checked, since a refusal has none.

    Raises:
        BenchError: h2load failed.
    """
    seconds = math.ceil(job.seconds)  # it takes no parts of a second
    with tempfile.TemporaryDirectory(prefix="broker-h2load-") as directory:
        request, log = Path(directory, "request"), Path(directory, "log")
        message = broker_pb2.PublishRequest(subject="bench", body=bytes(job.body), expirationSeconds=3600)
        encoded = message.SerializeToString()
        request.write_bytes(b"\0" + len(encoded).to_bytes(4, "big") + encoded)
        command = [
            *pin(1), tools.h2load(), "-t1", f"-c{job.connections}", f"-m{job.in_flight}", f"-D{seconds}",
            f"--warm-up-time={int(job.warm_up * 1000)}ms", f"--log-file={log}", f"--data={request}",
            "--header=content-type: application/grpc", "--header=te: trailers",
            *([f"--header={API_KEY_HEADER}: {API_KEY}"] if job.secured else []),
            f"{'https' if job.secured else 'http'}://{server.target}/broker.Broker/Publish",
        ]  # fmt: skip
        start = server.resident_bytes()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            # h2load does not say when its warm-up is over; it begins with connecting, in no time.
            time.sleep(job.warm_up)
            shares = Shares(server.pid, process.pid)
            watch.begin(server.pid)
            time.sleep(seconds)
            used = shares.read()
            watch.end()
            held = server.resident_bytes()
            output, _ = process.communicate(timeout=60)
        lines = log.read_text().splitlines() if log.exists() else []
    return {"start_bytes": start, "held_bytes": held, **used, **_parse(output, lines, seconds)}


def _parse(output: str, log: list[str], seconds: int) -> dict[str, Any]:
    """What h2load printed, and the lines of its log: start, HTTP status and duration (µs)."""
    requests, data = REQUESTS.search(output), DATA.search(output)
    if requests is None or data is None or not int(requests[1]):
        raise BenchError(f"h2load failed:\n{output}")
    succeeded, *unsuccessful = map(int, requests.groups())
    durations = sorted(int(line.rsplit("\t", 1)[1]) / 1000 for line in log)
    problems = []
    if any(unsuccessful):
        problems.append(f"h2load: {requests[0]}")
    if int(data[1]) < succeeded * SMALLEST_ANSWER:
        problems.append(f"h2load: {data[1]} bytes are too few for {succeeded} answers")
    return {
        "count": succeeded,
        "rate": succeeded / seconds,
        "p50_ms": percentile(durations, 0.50),
        "p99_ms": percentile(durations, 0.99),
        "problems": problems,
        "note": "",
    }
