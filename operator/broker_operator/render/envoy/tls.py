"""Encrypted connections: of clients to the proxy, and of the proxy to brokers."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.api.access import ClientCertificates, Tls
from broker_operator.render.envoy.names import Config, typed
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources

SERVER_SECRET = "server"  # noqa: S105 - a name
CLIENT_CA_SECRET = "client-ca"  # noqa: S105 - a name


def from_clients(tls: Tls | None, protocols: list[str], places: Places, sources: Sources) -> Config:
    """Fields of the clients' filter chain. The files are followed: other certificates cut no stream."""
    if tls is None:
        return {}
    common: Config = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": protocols,
        "tls_certificate_sds_secret_configs": [sources.secret(SERVER_SECRET, _certificate(places.server_tls))],
    }
    context: Config = {"common_tls_context": common}
    if tls.client_ca_secret_name is not None:
        authorities = {
            "validation_context": {
                "trusted_ca": {"filename": f"{places.client_ca}/ca.crt"},
                "watched_directory": {"path": places.client_ca},
            }
        }
        common["validation_context_sds_secret_config"] = sources.secret(CLIENT_CA_SECRET, authorities)
        # Also one that need not be shown must be signed by them.
        context["require_client_certificate"] = tls.client_certificates is not ClientCertificates.OPTIONAL
    message = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": typed(message, **context)}}


def to_brokers(cluster: BrokerCluster, places: Places, sources: Sources) -> Config:
    """Fields of a cluster of brokers."""
    return {}


def from_brokers(cluster: BrokerCluster, places: Places, sources: Sources) -> Config:
    """Fields of the filter chain on which brokers ask for quota."""
    return {}


def _certificate(directory: str) -> Config:
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": f"{directory}/tls.crt"},
            "private_key": {"filename": f"{directory}/tls.key"},
            "watched_directory": {"path": directory},
        }
    }
