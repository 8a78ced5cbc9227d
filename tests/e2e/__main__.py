"""Build the images, bring them to a cluster, and run there all tests that need a real Kubernetes.

python -m tests.e2e [arguments for pytest]
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.e2e.clusters import KUBECONFIG, POSTGRES_IMAGE, Cluster, NoCluster, choose

ROOT = Path(__file__).parents[2]
# The operator as a process of the tests first, then installed. Each is a run of its own: two operators must not work
# at the same time, and the first suite's namespace must be gone before the CRD is.
SUITES = ("tests/integration/operator", "tests/e2e")
BUILT_POSTGRES = "brokercluster-e2e/postgres:17"
IMAGES = [f"brokercluster/{image}:{version('brokercluster')}" for image in ("broker", "operator", "proxy")]


def test(cluster: Cluster, arguments: Sequence[str]) -> int:
    """Run the suites on the cluster; 0 when all pass, otherwise pytest's exit code of the last that did not."""
    if cluster.load_image is not None:
        subprocess.run(["make", "image"], cwd=ROOT, check=True)
        cluster.load(IMAGES)
    postgres = cluster.postgres_image or build_postgres(cluster)
    environment = {**os.environ, KUBECONFIG: cluster.kubeconfig, POSTGRES_IMAGE: postgres}
    status = 0
    for suite in SUITES:
        command = [sys.executable, "-m", "pytest", "--timeout=600", suite, *arguments]
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode or status
    return status


def build_postgres(cluster: Cluster) -> str:
    """Build an image of PostgreSQL and bring it to the nodes."""
    flags = shlex.split(os.environ.get("DOCKER_BUILD_FLAGS", ""))
    file = Path(__file__).with_name("postgres.Dockerfile")
    subprocess.run(["docker", "build", *flags, "--tag", BUILT_POSTGRES, "--file", file, file.parent], check=True)
    cluster.load([BUILT_POSTGRES])
    return BUILT_POSTGRES


def main() -> int:
    """Choose a cluster, test on it; 2 when there is none, 1 when a preparation failed."""
    try:
        with choose() as cluster:
            return test(cluster, sys.argv[1:])
    except NoCluster as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
