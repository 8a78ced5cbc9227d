"""Encrypted connections: of clients to the proxy, and of the proxy to brokers."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.api.access import ClientCertificates, Tls
from broker_operator.render.envoy.names import Config, typed
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources
from broker_operator.render.names import broker_host

SERVER_SECRET = "server"  # noqa: S105 - a name
CLIENT_CA_SECRET = "client-ca"  # noqa: S105 - a name
INTERNAL_SECRET = "internal"  # noqa: S105 - a name
INTERNAL_CA_SECRET = "internal-ca"  # noqa: S105 - a name

_CLIENT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_SERVER = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


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
        authorities = sources.secret(CLIENT_CA_SECRET, _authorities(places.client_ca))
        common["validation_context_sds_secret_config"] = authorities
        # Also one that need not be shown must be signed by them.
        context["require_client_certificate"] = tls.client_certificates is not ClientCertificates.OPTIONAL
    return _socket(_SERVER, context)


def to_brokers(cluster: BrokerCluster, places: Places, sources: Sources) -> Config:
    """Fields of a cluster of brokers: where clients speak TLS, proxies and brokers prove themselves to each other."""
    directory = places.internal_tls
    if cluster.spec.proxy.tls is None or directory is None:
        return {}
    common = {**_mutual(directory, broker_host(cluster), sources), "alpn_protocols": ["h2"]}
    return _socket(_CLIENT, {"common_tls_context": common, "sni": broker_host(cluster)})


def from_brokers(cluster: BrokerCluster, places: Places, sources: Sources) -> Config:
    """Fields of the filter chain on which brokers ask for quota: the same the other way round."""
    directory = places.internal_tls
    if cluster.spec.proxy.tls is None or directory is None:
        return {}
    common = _mutual(directory, broker_host(cluster), sources)
    return _socket(_SERVER, {"common_tls_context": common, "require_client_certificate": True})


def _mutual(directory: str, name: str, sources: Sources) -> Config:
    """Show our own certificate, and take only another that one of our authorities has signed for this name."""
    matched = [{"san_type": "DNS", "matcher": {"exact": name}}]
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [sources.secret(INTERNAL_SECRET, _certificate(directory))],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matched},
            "validation_context_sds_secret_config": sources.secret(INTERNAL_CA_SECRET, _authorities(directory)),
        },
    }


def _socket(message: str, context: Config) -> Config:
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": typed(message, **context)}}


def _authorities(directory: str) -> Config:
    return {
        "validation_context": {
            "trusted_ca": {"filename": f"{directory}/ca.crt"},
            "watched_directory": {"path": directory},
        }
    }


def _certificate(directory: str) -> Config:
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": f"{directory}/tls.crt"},
            "private_key": {"filename": f"{directory}/tls.key"},
            "watched_directory": {"path": directory},
        }
    }
