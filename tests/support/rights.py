"""The operator's rights as its manifests give them, in a namespace of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from broker_operator.kube import Kube
from tests.support.api_proxy import Request

MANIFESTS = Path(__file__).parents[2] / "manifests" / "operator"
ACCOUNT = "broker-operator"


def rules() -> list[dict[str, Any]]:
    """All rules of the operator's ClusterRole and Role."""
    roles = [
        document
        for file in ("cluster_role.yaml", "lease_role.yaml")
        for document in yaml.safe_load_all((MANIFESTS / file).read_text())
    ]
    return [rule for role in roles for rule in role.get("rules", [])]


def granted() -> set[Request]:
    """Every single right in the manifests."""
    return {
        Request(verb, group, resource)
        for rule in rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def token_with_rights(kube: Kube, namespace: str) -> str:
    """Make a ServiceAccount with the operator's rights in this one namespace, and a token for it."""
    metadata = {"name": ACCOUNT, "namespace": namespace}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules()}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    await kube.request("POST", account, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await kube.request("POST", f"{rbac}/roles", body=role)
    await kube.request("POST", f"{rbac}/rolebindings", body=binding)
    answer = await kube.request("POST", f"{account}/{ACCOUNT}/token", body=request)
    return str(answer["status"]["token"])
