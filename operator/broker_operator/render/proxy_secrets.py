"""The Secrets in a proxy's pod, and the program that gives Envoy the API keys of one of them."""

from __future__ import annotations

from broker_operator.api import BrokerCluster, PodSettings, Proxy, Resources
from broker_operator.render import config_map, pods
from broker_operator.render.config_map import API_KEYS_DIRECTORY, CLIENT_CA_DIRECTORY, SERVER_TLS_DIRECTORY
from broker_operator.render.envoy.access import API_KEYS
from broker_operator.render.envoy.sources import filter_file
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

_SECRET_KEYS_DIRECTORY = "/etc/broker/api-keys"  # noqa: S105 - a path
_GROUP_READS = 0o440
"""The files belong to root and to the group of the pod."""


def volumes(proxy: Proxy) -> list[Object]:
    """Whole Secrets: a file mounted by subPath would never change. A pod without one of them does not start."""
    secrets = {"api-keys-secret": proxy.authentication.api_keys and proxy.authentication.api_keys.secret_name}
    if proxy.tls is not None:
        secrets |= {"server-tls": proxy.tls.secret_name, "client-ca": proxy.tls.client_ca_secret_name}
    found = [
        {"name": name, "secret": {"secretName": secret, "defaultMode": _GROUP_READS}}
        for name, secret in secrets.items()
        if secret
    ]
    if proxy.authentication.api_keys:
        # In memory: keys are written to no disk.
        found.append({"name": "api-keys", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}})
    return found


def mounts(proxy: Proxy) -> list[Object]:
    """What of it Envoy reads."""
    directories = {
        "server-tls": SERVER_TLS_DIRECTORY,
        "client-ca": CLIENT_CA_DIRECTORY,
        "api-keys": API_KEYS_DIRECTORY,
    }
    there = {volume["name"] for volume in volumes(proxy)}
    return [{"name": name, "mountPath": path, "readOnly": True} for name, path in directories.items() if name in there]


def init_containers(cluster: BrokerCluster, settings: RenderSettings) -> list[Object]:
    """What starts before Envoy, and goes on beside it."""
    proxy = cluster.spec.proxy
    if proxy.authentication.api_keys is None:
        return []
    file = filter_file(API_KEYS)
    made = f"{API_KEYS_DIRECTORY}/{file}"
    small = PodSettings(
        image=proxy.image,
        resources=Resources(requests={"cpu": "10m", "memory": "24Mi"}, limits={"memory": "64Mi"}),
    )
    return [
        pods.container(
            "api-keys",
            settings.proxy_image,
            small,
            restartPolicy="Always",
            command=["/usr/local/bin/api-keys"],
            args=[
                f"--keys={_SECRET_KEYS_DIRECTORY}",
                f"--template={config_map.DIRECTORY}/{file}",
                f"--file={made}",
            ],
            volumeMounts=[
                {"name": "config", "mountPath": config_map.DIRECTORY, "readOnly": True},
                {"name": "api-keys-secret", "mountPath": _SECRET_KEYS_DIRECTORY, "readOnly": True},
                {"name": "api-keys", "mountPath": API_KEYS_DIRECTORY},
            ],
            # Envoy starts once the file is there: it refuses a listener whose files are missing.
            startupProbe={"exec": {"command": ["test", "-f", made]}, "periodSeconds": 1, "failureThreshold": 86_400},
        )
    ]
