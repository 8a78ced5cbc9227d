"""What the pods of brokers and proxies have in common: security, placement, labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from broker_operator.api import BrokerCluster, PodSettings, TopologySpread
from broker_operator.api.fields import json_name
from broker_operator.render import names
from broker_operator.render.names import Object

USER = 65532
GRACE_MARGIN_SECONDS = 10
"""Between the end of draining and the kill: room to close files and exit."""


NODE = "kubernetes.io/hostname"


def deployment(
    metadata: Object, replicas: int | None, strategy: Object, selector: dict[str, str], template: Object
) -> Object:
    """A Deployment; without `replicas` it is somebody else who sets their number."""
    number = {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **number,
            "revisionHistoryLimit": 3,
            "strategy": strategy,
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }


def template(
    cluster: BrokerCluster,
    component: str,
    settings: PodSettings,
    *,
    account: str,
    container: Object,
    volumes: list[Object],
    annotations: Mapping[str, str] | None = None,
    init_containers: Sequence[Object] = (),
) -> Object:
    """A pod template. The operator's version is not in it, so that an upgrade of the operator restarts no pod."""
    metadata: Object = {"labels": {**settings.pod_labels, **names.labels(cluster, component)}}
    if both := {**settings.pod_annotations, **(annotations or {})}:
        metadata["annotations"] = both
    return {
        "metadata": metadata,
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.drain_seconds + GRACE_MARGIN_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **_placement(cluster, component, settings),
            **_without_empty({"initContainers": list(init_containers)}),
            "containers": [container],
            "volumes": volumes,
        },
    }


def container(name: str, image: str, settings: PodSettings, **fields: Any) -> Object:
    """A container that fits the restricted Pod Security Standard, with a read-only root file system."""
    return {
        "name": name,
        "image": settings.image or image,
        "imagePullPolicy": "IfNotPresent",
        **fields,
        "resources": _without_empty(
            {"requests": dict(settings.resources.requests), "limits": dict(settings.resources.limits)}
        ),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def port(name: str, number: int) -> Object:
    """A container port."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def probe(port: str, path: str, **fields: Any) -> Object:
    """An HTTP probe."""
    return {"httpGet": {"port": port, "path": path, "scheme": "HTTP"}, **fields}


def _placement(cluster: BrokerCluster, component: str, settings: PodSettings) -> Object:
    wanted = settings.topology_spread_constraints or (TopologySpread(topology_key=NODE),)
    spreads = [
        {**_plain(spread), "labelSelector": {"matchLabels": names.selector(cluster, component)}} for spread in wanted
    ]
    return _without_empty(
        {
            "imagePullSecrets": [_plain(secret) for secret in settings.image_pull_secrets],
            "nodeSelector": dict(settings.node_selector),
            "tolerations": [_plain(toleration) for toleration in settings.tolerations],
            "affinity": _plain(settings.affinity) if settings.affinity else None,
            "topologySpreadConstraints": spreads,
            "priorityClassName": settings.priority_class_name,
        }
    )


def _plain(value: Any) -> Object:
    """A dataclass of the API back as Kubernetes writes it, without what is not set."""
    fields = ((json_name(field.name), getattr(value, field.name)) for field in dataclasses.fields(value))
    return {name: str(item) if isinstance(item, str) else item for name, item in fields if item is not None}


def _without_empty(fields: Object) -> Object:
    return {name: value for name, value in fields.items() if value}
