"""Files that are mounted into a pod: a ConfigMap, a Secret."""

import tempfile
from collections.abc import Mapping
from pathlib import Path


def mount(directory: Path, files: Mapping[str, bytes]) -> None:
    """Puts files there, or others instead, as the kubelet does: a new directory, and a symlink swapped to it."""
    directory.mkdir(exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    (directory / "..new").symlink_to(version.name)
    (directory / "..new").rename(directory / "..data")
