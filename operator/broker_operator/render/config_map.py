"""Envoy's configuration as the files of one directory."""

from __future__ import annotations

import json
from collections.abc import Iterator

from broker_operator.api import CONFIG_VERSION_ANNOTATION, BrokerCluster
from broker_operator.render import envoy, names
from broker_operator.render.envoy.sources import CLUSTERS
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, QUOTA_PORT, Object
from broker_operator.render.settings import RenderSettings

DIRECTORY = "/etc/envoy"
ADMIN_DIRECTORY = "/run/envoy"
SERVER_TLS_DIRECTORY = "/etc/broker/tls"
CLIENT_CA_DIRECTORY = "/etc/broker/client-ca"
INTERNAL_TLS_DIRECTORY = "/etc/broker/internal-tls"
API_KEYS_DIRECTORY = "/run/api-keys"
DESCRIPTOR_SET = "/etc/broker/broker.pb"


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """Running proxies follow these files; of the bootstrap alone they hear no change."""
    files = envoy.files(cluster, places(cluster), DIRECTORY)
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            **names.metadata(cluster, settings, names.proxy(cluster), names.PROXY),
            "annotations": {CONFIG_VERSION_ANNOTATION: files[CLUSTERS]["version_info"]},
        },
        "data": {name: _text(config) for name, config in files.items()},
    }


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
        internal_tls=INTERNAL_TLS_DIRECTORY,
        api_keys=API_KEYS_DIRECTORY,
        brokers=(envoy.Address(f"{names.broker_headless(cluster)}.{suffix}", GRPC_PORT),),
        proxies=(envoy.Address(f"{names.proxy_headless(cluster)}.{suffix}", GRPC_PORT),),
    )


def _text(config: Object) -> str:
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"
