"""BrokerClusters for tests."""

from collections.abc import Mapping
from typing import Any


def manifest(spec: Mapping[str, Any] | None = None, name: str = "orders") -> dict[str, Any]:
    """A BrokerCluster as YAML would give it."""
    return {
        "apiVersion": "brokercluster.dev/v1alpha1",
        "kind": "BrokerCluster",
        "metadata": {"name": name, "namespace": "shop", "uid": "5f3c1d1e-0000-4000-8000-000000000001", "generation": 1},
        "spec": dict(spec or {}),
    }


def limited(*rules: Mapping[str, Any], **rate_limit: Any) -> dict[str, Any]:
    """A spec with these rate limits; names are given."""
    named = [{"name": f"rule-{index}", **rule} for index, rule in enumerate(rules)]
    return {"proxy": {"rateLimit": {**rate_limit, "rules": named}}}


def authenticated(**authentication: Any) -> dict[str, Any]:
    """A spec whose clients must prove who they are."""
    return {"proxy": {"authentication": authentication}}


def total(requests: int, unit: str = "Hour", **more: Any) -> dict[str, Any]:
    """A rule for all requests together."""
    return {"limit": {"requests": requests, "unit": unit, **more}}


def each(requests: int, unit: str = "Hour", **more: Any) -> dict[str, Any]:
    """A rule for each subject."""
    return {"subject": {"type": "Distinct"}, "limit": {"requests": requests, "unit": unit, **more}}


def exact(value: str, requests: int, unit: str = "Hour", **more: Any) -> dict[str, Any]:
    """A rule for one subject."""
    return {"subject": {"type": "Exact", "value": value}, "limit": {"requests": requests, "unit": unit, **more}}


def postgres(replicas: int = 1, secret: str = "orders-db", **settings: Any) -> dict[str, Any]:
    """A spec with storage of type Postgres."""
    storage = {"type": "Postgres", "postgres": {"dsnSecretRef": {"name": secret}, **settings}}
    return {"replicas": replicas, "storage": storage}
