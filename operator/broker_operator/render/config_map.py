"""Envoy's configuration as the files of one directory."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from broker_operator.api import BrokerCluster
from broker_operator.render import envoy, names
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, Object
from broker_operator.render.settings import RenderSettings

DIRECTORY = "/etc/envoy"
BOOTSTRAP = "envoy.yaml"
ROUTES = "rds.yaml"
ADMIN_DIRECTORY = "/run/envoy"
DESCRIPTOR_SET = "/etc/broker/broker.pb"


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """`envoy.yaml` is the same for every spec; what a spec changes is in `rds.yaml`, which running proxies follow."""
    bootstrap = envoy.bootstrap(cluster, _places(cluster), routes_path=f"{DIRECTORY}/{ROUTES}")
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(cluster, settings, names.proxy(cluster), names.PROXY),
        "data": {BOOTSTRAP: _text(bootstrap), ROUTES: _text(envoy.routes_file(cluster))},
    }


def _places(cluster: BrokerCluster) -> envoy.Places:
    suffix = f"{cluster.namespace}.svc"
    return envoy.Places(
        listen=envoy.Address("0.0.0.0", GRPC_PORT),  # noqa: S104 - a pod is reached from outside
        stats=envoy.Address("0.0.0.0", HTTP_PORT),  # noqa: S104
        admin_socket=f"{ADMIN_DIRECTORY}/admin.sock",
        descriptor_set=DESCRIPTOR_SET,
        brokers=(envoy.Address(f"{names.broker_headless(cluster)}.{suffix}", GRPC_PORT),),
        proxies=(envoy.Address(f"{names.proxy_headless(cluster)}.{suffix}", GRPC_PORT),),
    )


def _text(config: Object) -> str:
    text: str = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.CSafeDumper):
    """YAML without anchors: shared parts are written out. In C, since each pass of the operator renders."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
