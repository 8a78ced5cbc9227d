"""kubectl, as the tests use it."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
Object = Mapping[str, Any]

# A loaded single node needs its time; a test that passes never waits for it.
PATIENCE_SECONDS = 120.0


class KubectlError(Exception):
    """kubectl ended with an error; the message is its own."""


class Kubectl:
    """kubectl on one cluster, in one namespace (or in that of the kubeconfig's context)."""

    def __init__(self, kubeconfig: str, namespace: str | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> "Kubectl":
        """The same in another namespace."""
        return Kubectl(self.kubeconfig, namespace)

    def command(self, *args: str) -> list[str]:
        """The command line, for those who start it themselves."""
        place = ["--namespace", self.namespace] if self.namespace else []
        return ["kubectl", "--kubeconfig", self.kubeconfig, *place, *args]

    def __call__(self, *args: str, stdin: str = "", timeout: float = PATIENCE_SECONDS + 60) -> str:
        """Run it and return what it printed. Raises `KubectlError`."""
        result = subprocess.run(
            self.command(*args), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if result.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def apply(self, *objects: Object) -> None:
        """Apply objects from memory."""
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *args: str) -> Any:
        """One object (kind and name given), or None when there is none."""
        text = self("get", *args, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def list(self, kinds: str, *args: str) -> list[Any]:
        """The objects of these kinds."""
        items: list[Any] = json.loads(self("get", kinds, *args, "--output=json"))["items"]
        return items

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Merge a change into an object."""
        self("patch", kind, name, "--type=merge", "--patch", json.dumps(change))

    def delete(self, *args: str) -> None:
        """Delete, and wait until it is gone. No error when it is gone already."""
        self("delete", *args, "--ignore-not-found", f"--timeout={PATIENCE_SECONDS:.0f}s")

    def wait(self, what: str, state: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for a state of an object, e.g. `wait("pod/client", "condition=Ready")`."""
        self("wait", what, f"--for={state}", f"--timeout={seconds:.0f}s", timeout=seconds + 30)

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[str]:
        """The address on this machine that leads to a port of a pod or Service."""
        command = self.command("port-forward", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout
                line = process.stdout.readline()
                found = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", line)
                if not found:
                    raise KubectlError(f"kubectl port-forward {target}: {line}{process.stdout.read()}")
                yield found[1]
            finally:
                process.terminate()


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again until it gives something true; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.25)
