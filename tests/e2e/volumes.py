"""A volume for a claim, on clusters that have no StorageClass to make one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from tests.e2e.installed import BROKER_IMAGE, MARK, namespace
from tests.e2e.kubectl import Kubectl

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DIRECTORY = PurePosixPath("/var/tmp/broker-e2e")  # on the node


@contextmanager
def volume_for(kubectl: Kubectl, claim: str) -> Iterator[None]:
    """Make a directory of a node the volume of `claim` in kubectl's namespace; remove both afterwards.

    Does nothing where the cluster has a default StorageClass.
    """
    classes = kubectl.list("storageclasses")
    if any((each["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true" for each in classes):
        yield
        return
    name = f"broker-e2e-{uuid.uuid4().hex[:8]}"
    (node, *_) = kubectl.list("nodes")
    hostname = node["metadata"]["labels"]["kubernetes.io/hostname"]
    with namespace(kubectl, name, level="privileged") as host:
        _on_node(host, hostname, "make", f"import pathlib; pathlib.Path('/host/{name}').mkdir()")
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name, "labels": {MARK: "true"}},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": kubectl.namespace, "name": claim},
                    # Of this type, not hostPath: the kubelet gives it to the pod's fsGroup, as it does with real disks.
                    "local": {"path": str(DIRECTORY / name)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [_is(hostname)]}]}},
                },
            }
        )
        try:
            yield
        finally:
            kubectl.delete("persistentvolume", name, "--wait=false")
            _on_node(host, hostname, "remove", f"import shutil; shutil.rmtree('/host/{name}')")


def _is(hostname: str) -> dict[str, object]:
    return {"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname]}


def _on_node(kubectl: Kubectl, hostname: str, name: str, code: str) -> None:
    """Run Python as root with the node's directory at /host."""
    container = {
        "name": "root",
        "image": BROKER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", code],
        "securityContext": {"runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
    }
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"kubernetes.io/hostname": hostname},
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "host", "hostPath": {"path": str(DIRECTORY), "type": "DirectoryOrCreate"}}],
    }
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    kubectl.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
