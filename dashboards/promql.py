"""PromQL in the words of this project.

The ServiceMonitors give every series the labels `app_kubernetes_io_instance` (the BrokerCluster's name) and
`app_kubernetes_io_component` (broker or proxy), beside the `namespace` and `pod` that Prometheus Operator adds.
"""

CLUSTER = 'namespace="$namespace", app_kubernetes_io_instance="$cluster"'
BROKER = f'{CLUSTER}, app_kubernetes_io_component="broker"'
PROXY = f'{CLUSTER}, app_kubernetes_io_component="proxy"'
# Envoy knows the brokers twice: for calls that end soon, and for streams.
UPSTREAM = f'{PROXY}, envoy_cluster_name=~"broker|broker-streams"'
UPSTREAM_CALLS = f'{PROXY}, envoy_cluster_name="broker"'
CLIENTS = f'{PROXY}, envoy_http_conn_manager_prefix="ingress"'
SERVER_ERRORS = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
FAILED = f'{BROKER}, code=~"{SERVER_ERRORS}"'


def gauge(function: str, metric: str, labels: str = BROKER) -> str:
    """A gauge over all pods: `function` is sum, min, max, or one of these with `by (label)`."""
    return f"{function} ({metric}{{{labels}}})"


def rate(metric: str, labels: str = BROKER, by: str = "") -> str:
    """The growth of a counter over all pods, in a second."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, labels: str = BROKER, by: str = "") -> str:
    """A quantile over all pods."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, f'le, {by}' if by else 'le')})"
