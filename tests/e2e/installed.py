"""The operator on the cluster, BrokerClusters, and pods that speak to them."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.e2e.kubectl import Kubectl, eventually

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
PACKAGE = "tests.e2e.programs"
"""Of the programs of the client pod: there as here."""
PROGRAMS = ROOT / PACKAGE.replace(".", "/")
OPERATOR_NAMESPACE = "broker-system"
OPERATOR = "deployment/broker-operator"
BROKER_IMAGE = f"brokercluster/broker:{version('brokercluster')}"

MARK = "brokercluster.dev/e2e"
"""The label of everything that these tests make outside of a namespace of their own."""

RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def install(kubectl: Kubectl) -> None:
    """Install the operator as the README says, and wait until it works."""
    kubectl("apply", "-k", str(MANIFESTS))
    kubectl.within(OPERATOR_NAMESPACE)("rollout", "status", OPERATOR, "--timeout=120s")


def uninstall(kubectl: Kubectl) -> None:
    """Remove the operator, its CRD and with that every BrokerCluster."""
    kubectl("delete", "-k", str(MANIFESTS), "--ignore-not-found", "--timeout=120s")


def strangers(kubectl: Kubectl) -> list[str]:
    """The BrokerClusters that these tests did not make."""
    if kubectl.get("crd", "brokerclusters.brokercluster.dev") is None:
        return []
    ours = {item["metadata"]["name"] for item in kubectl.list("namespaces", f"--selector={MARK}")}
    found = [item["metadata"] for item in kubectl.list("brokerclusters", "--all-namespaces")]
    return [f"{each['namespace']}/{each['name']}" for each in found if each["namespace"] not in ours]


@contextmanager
def namespace(kubectl: Kubectl, name: str, level: str = "restricted") -> Iterator[Kubectl]:
    """A new namespace that admits only pods of this Pod Security level; gone afterwards."""
    labels = {MARK: "true", "pod-security.kubernetes.io/enforce": level}
    kubectl.delete("namespace", name)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        yield kubectl.within(name)
    finally:
        kubectl.delete("namespace", name)


@dataclass(frozen=True)
class Cluster:
    """One BrokerCluster, by its name and kubectl in its namespace."""

    name: str
    kubectl: Kubectl

    @property
    def address(self) -> str:
        """What clients in the same namespace connect to."""
        return f"{self.name}:50051"

    def get(self) -> Any:
        """The object as it is now."""
        return self.kubectl.get("brokercluster", self.name)

    def wait_ready(self) -> None:
        """Wait until brokers and proxies serve."""
        self.kubectl.wait(f"brokercluster/{self.name}", "condition=Ready")

    def condition(self, kind: str) -> Mapping[str, str]:
        """One condition of its status; empty when there is none."""
        conditions = (self.get().get("status") or {}).get("conditions") or []
        return next((each for each in conditions if each["type"] == kind), {})

    def settle(self) -> None:
        """Wait until the operator has seen the last change and nothing moves any more."""

        def settled() -> bool:
            current = self.get()
            moving, ready = self.condition("Progressing"), self.condition("Ready")
            seen = {moving.get("observedGeneration"), ready.get("observedGeneration")}
            return seen == {current["metadata"]["generation"]} and (moving["status"], ready["status"]) == (
                "False",
                "True",
            )

        eventually(settled, f"{self.name} settles; last status: {self.get().get('status')}")

    def pods(self, component: str) -> list[Any]:
        """Its pods that nobody has asked to go, of one component (broker, proxy)."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        found = self.kubectl.list("pods", f"--selector={selector}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, component: str) -> str:
        """The name of its only pod of a component."""
        (pod,) = self.pods(component)
        name: str = pod["metadata"]["name"]
        return name

    def restarts(self) -> int:
        """How often containers of its present pods were restarted."""
        pods = self.pods("broker") + self.pods("proxy")
        return sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"])

    def patch(self, spec: Mapping[str, Any]) -> None:
        """Merge a change into the spec."""
        self.kubectl.patch("brokercluster", self.name, {"spec": spec})


def broker_cluster(name: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A BrokerCluster that fits on a small node beside others."""
    small = {"requests": {"cpu": "50m", "memory": "64Mi"}}
    both = {"broker": {"resources": small}, "proxy": {"resources": small}}
    merged = {key: {**both.get(key, {}), **value} if key in both else value for key, value in spec.items()}
    return {
        "apiVersion": "brokercluster.dev/v1alpha1",
        "kind": "BrokerCluster",
        "metadata": {"name": name},
        "spec": {**both, **merged},
    }


class Client:
    """A pod from which the programs of `programs/` run, as a user's application would."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def start(self) -> "Client":
        """Start the pod and wait until it runs."""
        programs = {path.name: path.read_text() for path in PROGRAMS.glob("*.py")}
        container = {
            "name": "client",
            "image": BROKER_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", "import signal; signal.pause()"],
            "env": [{"name": "PYTHONPATH", "value": "/programs"}],
            "volumeMounts": [
                {"name": "programs", "mountPath": f"/programs/{PACKAGE.replace('.', '/')}", "readOnly": True}
            ],
            "securityContext": RESTRICTED,
        }
        spec = {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "programs", "configMap": {"name": "programs"}}],
        }
        self._kubectl.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "programs"}, "data": programs},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec},
        )
        self._kubectl.wait("pod/client", "condition=Ready")
        return self

    def run(self, program: str, *args: str) -> Any:
        """Run one program to its end; what it printed, parsed."""
        return json.loads(self._kubectl("exec", "client", "--", "python", "-m", f"{PACKAGE}.{program}", *args))

    @contextmanager
    def running(self, program: str, *args: str) -> "Iterator[Running]":
        """Run a program that talks in JSON lines while it runs."""
        command = self._kubectl.command("exec", "-i", "client", "--", "python", "-m", f"{PACKAGE}.{program}", *args)
        pipe = subprocess.PIPE
        # What it logs goes to our standard error, which pytest shows when the test fails.
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                yield Running(process)
            finally:
                process.terminate()


class Running:
    """A program that runs in the client pod."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def expect(self, event: str, *beside: str) -> Any:
        """The next line, which must be this event; events `beside` it may come before."""
        assert self._process.stdout
        while True:
            line = self._process.stdout.readline()
            assert line, f"{event} expected, but the program has ended"
            found = json.loads(line)
            if found["event"] not in beside:
                assert found["event"] == event, f"{event} expected, got {found}"
                return found

    def stop(self) -> None:
        """Tell it to come to its end."""
        assert self._process.stdin
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()
