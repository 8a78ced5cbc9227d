"""The BrokerCluster to run: from a file or the default, and what of it this machine cannot honour."""

import sys
from pathlib import Path
from typing import Any

import yaml

from broker.cli.failure import Failure
from broker_operator.api import BrokerCluster, PodSettings, SpecError, parse

_DEFAULT = {"apiVersion": "brokercluster.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "local"}}

_POD_FIELDS = {
    "image": "image",
    "image_pull_secrets": "imagePullSecrets",
    "resources": "resources",
    "node_selector": "nodeSelector",
    "tolerations": "tolerations",
    "affinity": "affinity",
    "topology_spread_constraints": "topologySpreadConstraints",
    "priority_class_name": "priorityClassName",
    "pod_labels": "podLabels",
    "pod_annotations": "podAnnotations",
}


def load(file: Path | None) -> BrokerCluster:
    """Return the BrokerCluster of a file ("-" is standard input), or one SQLite broker without a file.

    Raises:
        Failure: the file cannot be read, or is not a BrokerCluster; says where and what to do.
    """
    if file is None:
        return parse(_DEFAULT)
    found = [each for each in _documents(file) if isinstance(each, dict) and each.get("kind") == "BrokerCluster"]
    if len(found) != 1:
        several = f"{len(found)} objects" if found else "no object"
        msg = f"{file} has {several} of kind BrokerCluster: give a file with one"
        raise Failure(msg)
    try:
        cluster = parse(found[0])
    except SpecError as error:
        msg = f"{file} is not a valid BrokerCluster: {error}"
        raise Failure(msg) from None
    if cluster.spec.replicas == 0 or cluster.spec.proxy.replicas == 0:
        msg = f"{file} has replicas: 0, so there is nothing to run: set spec.replicas and spec.proxy.replicas to 1"
        raise Failure(msg)
    return cluster


def not_honoured(cluster: BrokerCluster) -> list[str]:
    """Return the paths of what was set and has no meaning for processes on one machine."""
    spec = cluster.spec
    paths = [*_pod_paths("spec.broker", spec.broker), *_pod_paths("spec.proxy", spec.proxy)]
    if spec.proxy.replicas > 1:
        paths.append(f"spec.proxy.replicas: {spec.proxy.replicas} (one Envoy runs)")
    if spec.proxy.service != type(spec.proxy)().service:
        paths.append("spec.proxy.service")
    if spec.storage.sqlite is not None and spec.storage.sqlite.storage_class_name is not None:
        paths.append("spec.storage.sqlite.storageClassName")
    if spec.storage.postgres is not None:
        paths.append("spec.storage.postgres.dsnSecretRef (BROKER_POSTGRES_DSN names a database, or one is started)")
    if spec.monitoring != type(spec.monitoring)():
        paths.append("spec.monitoring")
    return paths


def _pod_paths(path: str, settings: PodSettings) -> list[str]:
    default = PodSettings()
    return [f"{path}.{wire}" for name, wire in _POD_FIELDS.items() if getattr(settings, name) != getattr(default, name)]


def _documents(file: Path) -> list[Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return list(yaml.safe_load_all(text))
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
    except UnicodeDecodeError:
        msg = f"cannot read {file}: it is not UTF-8 text"
    except yaml.YAMLError as error:
        msg = f"{file} is not YAML: {' '.join(str(error).split())}"
    raise Failure(msg)
