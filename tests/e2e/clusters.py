"""Where the end-to-end tests run: a kind cluster of their own, or the cluster that the environment names."""

import os
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KUBECONFIG = "E2E_KUBECONFIG"
LOAD_IMAGE = "E2E_LOAD_IMAGE"
POSTGRES_IMAGE = "E2E_POSTGRES_IMAGE"

OFFICIAL_POSTGRES = "postgres:17"

NO_CLUSTER = f"""\
there is no cluster to test on. Either install kind and docker (a cluster is made for the run and deleted after it),
or name a cluster that may be changed:
  {KUBECONFIG}=/path/to/kubeconfig    the cluster; the operator is installed on it, tested, and removed again
  {LOAD_IMAGE}="command"             what brings an image to its nodes; the image's name is appended
  {POSTGRES_IMAGE}=postgres:17       the image of PostgreSQL that its nodes have or pull; by default one is built and
                                     brought there
The current context of kubectl is never used unless it is named so."""


class NoCluster(Exception):
    """There is nothing to run on; the message says what to do."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that the tests may change, and how images come to its nodes."""

    kubeconfig: str
    load_image: Sequence[str] | None
    """The command that brings images; None: they are there."""
    postgres_image: str | None = None
    """An image of PostgreSQL that the nodes have or pull; None: build one and bring it."""

    def load(self, images: Sequence[str]) -> None:
        """Bring images from the Docker engine to the nodes."""
        if self.load_image is not None:
            subprocess.run([*self.load_image, *images], check=True)


@contextmanager
def choose() -> Iterator[Cluster]:
    """The cluster for this run. Raises `NoCluster`."""
    if kubeconfig := os.environ.get(KUBECONFIG):
        if not Path(kubeconfig).is_file():
            raise NoCluster(f"{KUBECONFIG} names {kubeconfig}, which is not a file")
        command = os.environ.get(LOAD_IMAGE)
        postgres = os.environ.get(POSTGRES_IMAGE) or (None if command else OFFICIAL_POSTGRES)
        yield Cluster(kubeconfig, shlex.split(command) if command else None, postgres)
    elif shutil.which("kind") and shutil.which("docker"):
        with _kind() as cluster:
            yield cluster
    else:
        raise NoCluster(NO_CLUSTER)


@contextmanager
def _kind() -> Iterator[Cluster]:
    name = f"broker-e2e-{uuid.uuid4().hex[:6]}"
    with tempfile.TemporaryDirectory() as directory:
        kubeconfig = str(Path(directory) / "kubeconfig")
        try:
            subprocess.run(["kind", "create", "cluster", "--name", name, "--kubeconfig", kubeconfig], check=True)
            yield Cluster(kubeconfig, ["kind", "load", "docker-image", "--name", name], OFFICIAL_POSTGRES)
        finally:
            subprocess.run(["kind", "delete", "cluster", "--name", name], check=True)
