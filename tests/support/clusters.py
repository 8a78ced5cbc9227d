"""BrokerClusters for tests."""

import json
from collections.abc import Mapping
from typing import Any

KEY_SET: Mapping[str, Any] = {
    "keys": [
        {
            "kty": "EC",
            "crv": "P-256",
            "kid": "1",
            "x": "ALjC4Zkrjt2-K4kef6ScfsWzzERAdSdVh2Y7yJHVP80",
            "y": "W_GryaZWFlTHiRTjOoTe0uZjy8ZLKD_MHiQd4SYKAAc",
        }
    ]
}
"""A JSON Web Key Set. Nobody has the private key."""


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


def access(*clients: Mapping[str, Any], **proxy: Any) -> dict[str, Any]:
    """A spec in which clients can prove who they are in every way, and `clients` may do everything."""
    keys = {"inline": json.dumps(KEY_SET)}
    settings = {
        "tls": {"secretName": "orders-tls", "clientCASecretName": "orders-ca", "clientCertificates": "Optional"},
        "authentication": {
            "apiKeys": {"secretName": "orders-keys"},
            "jwt": {"issuer": "https://login.example.com/", "audiences": ["orders"], "jwks": keys},
        },
        "authorization": {"rules": [{"name": "some", "clients": list(clients)}] if clients else []},
    }
    return {"proxy": {**settings, **proxy}}
