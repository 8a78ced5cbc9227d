"""Fixtures of the end-to-end tests, their timings in the summary, and the state of the cluster when one fails."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clusters import KUBECONFIG, NO_CLUSTER
from tests.e2e.installed import (
    MARK,
    OPERATOR_NAMESPACE,
    Client,
    Cluster,
    broker_cluster,
    install,
    namespace,
    strangers,
    uninstall,
)
from tests.e2e.kubectl import Kubectl, KubectlError
from tests.e2e.volumes import volume_for

TIMINGS = pytest.StashKey[list[str]]()
Start = Callable[..., Cluster]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The cluster that this run may change."""
    kubeconfig = os.environ.get(KUBECONFIG)
    if not kubeconfig:
        pytest.exit(f"e2e: {NO_CLUSTER}\n`make e2e` does all of it.", returncode=2)
    return Kubectl(kubeconfig)


@pytest.fixture(scope="session")
def timing(pytestconfig: pytest.Config) -> Callable[[str, float], None]:
    """Note how long something took, for the summary."""
    notes = pytestconfig.stash.setdefault(TIMINGS, [])
    return lambda what, seconds: notes.append(f"{what}: {seconds:.1f} s")


@pytest.fixture(scope="session")
def operator(kubectl: Kubectl, timing: Callable[[str, float], None]) -> Iterator[None]:
    """The operator, installed on a cluster where nobody uses another one."""
    if found := strangers(kubectl):
        pytest.exit(
            f"e2e: this cluster has BrokerClusters that these tests did not make: {', '.join(found)}. "
            "Removing the operator at the end would take them along: use another cluster, or delete them.",
            returncode=2,
        )
    for leftover in kubectl.list("namespaces", f"--selector={MARK}"):
        kubectl.delete("namespace", leftover["metadata"]["name"])
    with ServiceMonitors(kubectl):
        uninstall(kubectl)
        started = time.monotonic()
        install(kubectl)
        timing("install, until the operator is ready", time.monotonic() - started)
        yield
        uninstall(kubectl)


class ServiceMonitors:
    """The kind ServiceMonitor, on clusters without the Prometheus Operator as a stand-in that accepts every field."""

    NAME = "servicemonitors.monitoring.coreos.com"

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._ours = False

    def __enter__(self) -> None:
        if self._kubectl.get("crd", self.NAME) is None:
            self._kubectl.apply(self._stand_in())
            self._kubectl.wait(f"crd/{self.NAME}", "condition=Established")
            self._ours = True

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._kubectl.delete("crd", self.NAME)

    def _stand_in(self) -> Mapping[str, Any]:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.NAME, "labels": {MARK: "true"}},
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
                "versions": [version],
            },
        }


@pytest.fixture(scope="module")
def place(kubectl: Kubectl, operator: None, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of this module's own, in which only restricted pods may run."""
    name = "broker-e2e-" + Path(request.node.fspath).stem.removeprefix("test_").replace("_", "-")
    with namespace(kubectl, name) as inside:
        yield inside


@pytest.fixture(scope="module")
def client(place: Kubectl) -> Client:
    """A pod of a user's."""
    return Client(place).start()


@pytest.fixture(scope="module")
def start(place: Kubectl) -> Iterator[Start]:
    """Make a BrokerCluster from its name and spec (SQLite gets its volume) and wait until it is ready."""
    with ExitStack() as stack:

        def make(name: str, spec: Mapping[str, Any]) -> Cluster:
            cluster = Cluster(name, place)
            if spec["storage"]["type"] == "SQLite":
                stack.enter_context(volume_for(place, f"{name}-broker-data"))
            place.apply(broker_cluster(name, spec))
            stack.callback(place.delete, "brokercluster", name)
            cluster.wait_ready()
            return cluster

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the cluster looked like when a test failed."""
    report = yield
    if report.failed and (kubeconfig := os.environ.get(KUBECONFIG)):
        report.sections.append(("kubernetes", state(Kubectl(kubeconfig))))
    return report


def state(kubectl: Kubectl) -> str:
    """Objects, events and logs of the namespaces of this run."""
    try:
        names = [each["metadata"]["name"] for each in kubectl.list("namespaces", f"--selector={MARK}")]
    except KubectlError as error:
        return str(error)
    parts = []
    for name in [OPERATOR_NAMESPACE, *names]:
        inside = kubectl.within(name)
        parts += [f"--- namespace {name}"]
        parts += [attempt(inside, "get", "all,configmaps,persistentvolumeclaims", "--output=wide")]
        parts += [attempt(inside, "get", "brokerclusters", "--output=yaml")]
        parts += [attempt(inside, "describe", "pods")]
        parts += [attempt(inside, "get", "events", "--sort-by=.lastTimestamp")]
        for kind, pods in (("current", ["--prefix"]), ("previous", ["--prefix", "--previous"])):
            for selector in ("app.kubernetes.io/name=brokercluster", "app.kubernetes.io/name=broker-operator"):
                logs = ["logs", f"--selector={selector}", "--all-containers", "--tail=80", *pods]
                parts += [f"--- {kind} logs of {selector}", attempt(inside, *logs)]
    return "\n".join(parts)


def attempt(kubectl: Kubectl, *args: str) -> str:
    """What kubectl says, be it an error."""
    try:
        return kubectl(*args)
    except KubectlError as error:
        return str(error)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the timings above pytest's last line."""
    notes = config.stash.get(TIMINGS, [])
    if notes:
        terminalreporter.section("timings")
        for note in notes:
            terminalreporter.write_line(note)
