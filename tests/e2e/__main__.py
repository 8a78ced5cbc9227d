"""Build the images, bring them to a cluster, and run there all tests that need a real Kubernetes.

python -m tests.e2e [arguments for pytest]
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.e2e.clusters import KUBECONFIG, Cluster, NoCluster, choose

ROOT = Path(__file__).parents[2]
# The operator as a process of the tests first, then installed: two operators must not work at the same time.
SUITES = ("tests/integration/operator", "tests/e2e")
IMAGES = [f"brokercluster/{image}:{version('brokercluster')}" for image in ("broker", "operator", "proxy")]


def test(cluster: Cluster, arguments: Sequence[str]) -> int:
    """Run the suites on the cluster and return pytest's exit code."""
    if cluster.load_image is not None:
        subprocess.run(["make", "image"], cwd=ROOT, check=True)
        cluster.load(IMAGES)
    command = [sys.executable, "-m", "pytest", "--timeout=600", *SUITES, *arguments]
    environment = {**os.environ, KUBECONFIG: cluster.kubeconfig}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


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
