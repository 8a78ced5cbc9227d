"""`brokerctl` as a child process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

COMMAND = [sys.executable, "-m", "broker.cli.main"]


class Brokerctl:
    """Runs `brokerctl` in a directory, with some variables of its environment set."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), **(environment or {})}

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run it to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=self._directory,
            env=self._environment,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str) -> "Running":
        """Run it in the background."""
        return Running(
            subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._directory,
                env=self._environment,
            )
        )


class Running:
    """A `brokerctl` in the background; a context manager that leaves none behind and prints what it said."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.stderr = b""
        self.stdout = b""
        self._more = threading.Condition()
        self._readers = [threading.Thread(target=self._read, args=[name], daemon=True) for name in ("stdout", "stderr")]
        for reader in self._readers:
            reader.start()

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until what it printed fulfils a condition."""
        with self._more:
            if not self._more.wait_for(condition, timeout):
                raise AssertionError(f"it never came; this is what it said:\n{self.output()}")

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda: text in self.output())

    def output(self) -> str:
        return (self.stdout + self.stderr).decode(errors="replace")

    def send(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(60)
        for reader in self._readers:
            reader.join(60)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        print(f"--- {' '.join(map(str, self.process.args))}\n{self.output()}---", file=sys.stderr)  # type: ignore[arg-type]

    def _read(self, name: str) -> None:
        pipe = getattr(self.process, name)
        with pipe:
            while chunk := pipe.read1(65536):
                with self._more:
                    setattr(self, name, getattr(self, name) + chunk)
                    self._more.notify_all()
