"""The only I/O of the operator: a small, typed door to the Kubernetes API.

Built on the official client's asyncio transport (its configuration, TLS and token refresh); objects are plain dicts,
so that a field newer than any client library survives.
"""

from broker_operator.kube.client import FIELD_MANAGER, Kube, Manifest
from broker_operator.kube.config import load_configuration
from broker_operator.kube.errors import (
    Conflict,
    FieldConflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    Throttled,
    Unavailable,
)
from broker_operator.kube.kinds import BROKER_CLUSTER, CHILD_KINDS, EVENT, LEASE, POD, SECRET, Kind, kind_of

__all__ = [
    "BROKER_CLUSTER",
    "CHILD_KINDS",
    "EVENT",
    "FIELD_MANAGER",
    "LEASE",
    "POD",
    "SECRET",
    "Conflict",
    "FieldConflict",
    "Forbidden",
    "Invalid",
    "Kind",
    "Kube",
    "KubeError",
    "Manifest",
    "NotFound",
    "Throttled",
    "Unavailable",
    "kind_of",
    "load_configuration",
]
