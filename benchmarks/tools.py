"""The programs that not every machine has: found, or built where their compiler is."""

import functools
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.errors import BenchError, Missing

HERE = Path(__file__).parent
BUILD_SECONDS = 600


@functools.cache
def loader() -> Path:
    """The load client in Rust, built when its sources are newer.

    Raises:
        Missing: there is no cargo.
    """
    crate = HERE / "loader"
    _build("cargo", ["build", "--release", "--locked", "--quiet", "--target-dir", "target"], crate)
    return crate / "target/release/loader"


@functools.cache
def go_echo() -> Path:
    """The bare echo of grpc-go, built when its sources are newer.

    Raises:
        Missing: there is no go.
    """
    module = HERE / "go-echo"
    _build("go", ["build", "-o", "target/go-echo", "."], module)
    return module / "target/go-echo"


def h2load() -> str:
    """The load client of nghttp2.

    Raises:
        Missing: it is not installed.
    """
    return _found("h2load", "the package nghttp2-client of Debian")


def perf() -> str:
    """The kernel's profiler.

    Raises:
        Missing: it is not installed.
    """
    return _found("perf", "the package linux-perf of Debian")


def native_door() -> None:
    """Look for the extension.

    Raises:
        Missing: it is not installed.
    """
    if find_spec("brokercluster_native") is None:
        raise Missing("needs the native door, which `make` builds where cargo is")


def _found(program: str, comes_from: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Missing(f"needs {program} ({comes_from})")
    return path


def _build(compiler: str, arguments: Sequence[str], directory: Path) -> None:
    command = [_found(compiler, "to build " + directory.name), *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"{directory}: {compiler} {' '.join(arguments)} failed:\n{done.stderr}")
