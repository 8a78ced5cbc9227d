"""The kinds the operator touches, and where the API serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One resource of the API.

    `optional`: comes with somebody else's CRD and may be missing.
    `prunable`: may be deleted as soon as it is no longer rendered. A volume claim is not: it holds users' messages,
    and goes only with its BrokerCluster.
    """

    api_version: str
    kind: str
    plural: str
    optional: bool = False
    prunable: bool = True

    @property
    def root(self) -> str:
        """The path of the API group and version, as discovery serves it."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of all objects of a namespace (`""`: of all namespaces)."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{self.root}{scope}/{self.plural}", name, subresource) if part)


BROKER_CLUSTER = Kind("brokercluster.dev/v1alpha1", "BrokerCluster", "brokerclusters")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Kind("v1", "Event", "events")
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
"""Read and written by name, never listed or watched."""

#: Everything a BrokerCluster may own: watched, applied, pruned.
CHILD_KINDS: tuple[Kind, ...] = (
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Service", "services"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", prunable=False),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", optional=True),
)

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*CHILD_KINDS, SECRET)}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of a rendered object. KeyError for one that the operator has no rights for: an error of ours."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
