"""Envoy's configuration as the files of one directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from broker_operator.api import CONFIG_VERSION_ANNOTATION, BrokerCluster
from broker_operator.render import envoy, internal_tls, names
from broker_operator.render.envoy.sources import CLUSTERS
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, QUOTA_PORT, Object
from broker_operator.render.settings import RenderSettings

DIRECTORY = "/etc/envoy"
ADMIN_DIRECTORY = "/run/envoy"
SERVER_TLS_DIRECTORY = "/etc/broker/tls"
CLIENT_CA_DIRECTORY = "/etc/broker/client-ca"
API_KEYS_DIRECTORY = "/run/api-keys"
DESCRIPTOR_SET = "/etc/broker/broker.pb"


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """Running proxies follow these files; of the bootstrap alone they hear no change."""
    files = envoy.files(cluster, places(cluster), DIRECTORY)
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            **names.metadata(cluster, settings, name(cluster), names.PROXY),
            "annotations": {CONFIG_VERSION_ANNOTATION: files[CLUSTERS]["version_info"]},
        },
        "data": {name: _text(config) for name, config in files.items()},
    }


def name(cluster: BrokerCluster) -> str:
    """The ConfigMap's name: another one for each set of Secrets that a proxy mounts.

    Pods get another Secret only when they are replaced. Those of before would follow a configuration that needs what
    they have not, and stop serving though the Secret may not even exist; so they keep theirs as it was.
    """
    proxy = cluster.spec.proxy
    tls = [proxy.tls.secret_name, proxy.tls.client_ca_secret_name] if proxy.tls else []
    keys = [proxy.authentication.api_keys.secret_name] if proxy.authentication.api_keys else []
    if not tls and not keys:
        return names.proxy(cluster)
    return f"{names.proxy(cluster)}-{hashlib.sha256(json.dumps([tls, keys]).encode()).hexdigest()[:8]}"


def places(cluster: BrokerCluster) -> envoy.Places:
    """Where a proxy's pod has what the configuration names."""
    suffix = f"{cluster.namespace}.svc"
    return envoy.Places(
        listen=envoy.Address("0.0.0.0", GRPC_PORT),  # noqa: S104 - a pod is reached from outside
        stats=envoy.Address("0.0.0.0", HTTP_PORT),  # noqa: S104
        quota=envoy.Address("0.0.0.0", QUOTA_PORT),  # noqa: S104
        admin_socket=f"{ADMIN_DIRECTORY}/admin.sock",
        descriptor_set=DESCRIPTOR_SET,
        server_tls=SERVER_TLS_DIRECTORY,
        client_ca=CLIENT_CA_DIRECTORY,
        internal_tls=internal_tls.DIRECTORY,
        api_keys=API_KEYS_DIRECTORY,
        brokers=(envoy.Address(names.broker_host(cluster), GRPC_PORT),),
        proxies=(envoy.Address(f"{names.proxy_headless(cluster)}.{suffix}", GRPC_PORT),),
    )


def _text(config: Object) -> str:
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"
