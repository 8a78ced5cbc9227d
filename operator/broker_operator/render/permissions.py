"""The ConfigMap with the rules of authorization, which brokers follow."""

from __future__ import annotations

import json
from collections.abc import Iterator

from broker_operator.api import Authorization, BrokerCluster, Permission
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

DIRECTORY = "/etc/broker/authorization"
FILE = "authorization.json"

ARGUMENT = f"--authorization-file={DIRECTORY}/{FILE}"
MOUNT: Object = {"name": "authorization", "mountPath": DIRECTORY, "readOnly": True}


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """Always there, also without rules: so the first one restarts nothing."""
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(cluster, settings, names.broker(cluster), names.BROKER),
        "data": {FILE: text(cluster.spec.proxy.authorization)},
    }


def volume(cluster: BrokerCluster) -> Object:
    """The volume of a broker's pod."""
    return {"name": "authorization", "configMap": {"name": names.broker(cluster)}}


def text(authorization: Authorization) -> str:
    """The rules as brokers read them."""
    return json.dumps({"rules": [_rule(rule) for rule in authorization.rules]}, indent=1, ensure_ascii=False) + "\n"


def _rule(rule: Permission) -> Object:
    clients = [
        {"from": str(client.from_)}
        if client.value is None
        else {"from": str(client.from_), "type": str(client.type), "value": client.value}
        for client in rule.clients
    ]
    return {
        "name": rule.name,
        "clients": clients,
        "actions": [str(action) for action in rule.actions],
        "subjects": [{"type": str(subject.type), "value": subject.value} for subject in rule.subjects],
    }
