"""`python -m benchmarks.k6`: run smoke.js against K6_TARGET, or against a BrokerCluster of its own on this machine.

Environment:
    K6_TARGET: HOST:PORT of a proxy; without it `brokerctl up` is started on a free port, with data in a temporary
        directory, and stopped at the end.
    K6: the command that is k6 (default: k6).
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path(__file__).parent / "smoke.js"
READY = re.compile(r"is ready at (\S+)")
STOP_SECONDS = 40


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run `brokerctl up`; gives the address where its proxy listens."""
    with tempfile.TemporaryDirectory(prefix="broker-k6-") as data:
        command = [sys.executable, "-m", "broker.cli.main", "up", "--listen", "127.0.0.1:0", "--data", data]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if found := READY.search(line):
                    # It logs little once it runs; what it says is in the pipe if anyone has to look.
                    yield found[1]
                    return
            sys.exit(f"brokerctl up ended before it was ready:\n{''.join(said)}")
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=STOP_SECONDS)
            process.kill()


def run(target: str, arguments: list[str]) -> int:
    """Run k6 and return its exit code: 0, or 99 when a threshold was missed."""
    k6 = shlex.split(os.environ.get("K6", "k6"))
    if shutil.which(k6[0]) is None:
        sys.exit(f"there is no {k6[0]}: install k6, or say in K6 how to run it (make k6 does)")
    command = [*k6, "run", "--no-usage-report", "--quiet", *arguments, str(SCRIPT)]
    return subprocess.run(command, env={**os.environ, "K6_TARGET": target}, check=False).returncode


def main(arguments: list[str]) -> int:
    target = os.environ.get("K6_TARGET")
    with contextlib.nullcontext(target) if target else cluster() as address:
        print(f"k6 → {address}", flush=True)
        return run(address, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
