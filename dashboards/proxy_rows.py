"""What the proxies tell, alone or beside the brokers."""

from dashboards.model import Panel, Query, Row
from dashboards.promql import CLIENTS, PROXY, UPSTREAM, gauge, rate

LIMITS = Row(
    "Limits",
    (
        Panel(
            "Limited calls",
            "Calls that a proxy refused with RESOURCE_EXHAUSTED since a rate limit was reached, and calls it let pass.",
            "reqps",
            (
                Query(rate("envoy_http_local_rate_limit_rate_limited", PROXY), "limited"),
                Query(rate("envoy_http_local_rate_limit_ok", PROXY), "passed"),
            ),
        ),
        Panel(
            "Messages refused by brokers",
            "By reason: wrong requests, and limits of the broker such as PUBLISH_QUEUE_FULL or STORE_FULL.",
            "mps",
            (Query(rate("broker_messages_refused_total", by="reason"), "{{reason}}", sparse=True),),
            stacked=True,
        ),
        Panel(
            "Publish queue",
            "Messages that wait for the store, in the fullest broker. Growing: the store is slower than what comes in.",
            "short",
            (Query(gauge("max", "broker_queue_messages"), "messages"),),
            width=4,
        ),
        Panel(
            "Publish queue, bytes",
            "Bytes of messages that wait for the store, in the fullest broker.",
            "bytes",
            (Query(gauge("max", "broker_queue_bytes"), "bytes"),),
            width=4,
        ),
    ),
)

PROXIES = Row(
    "Proxies",
    (
        Panel(
            "Brokers in use",
            "Brokers that pass the proxies' health checks, of those that DNS names, as the worst proxy sees it.",
            "short",
            (
                Query(gauge("min", "envoy_cluster_membership_healthy", UPSTREAM), "healthy"),
                Query(gauge("max", "envoy_cluster_membership_total", UPSTREAM), "known"),
            ),
        ),
        Panel(
            "Client connections",
            "Connections that are open, by proxy. Uneven: clients hold old connections; they are renewed in time.",
            "short",
            (
                Query(
                    gauge("sum by (pod)", "envoy_http_downstream_cx_active", CLIENTS),
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Trouble on the way to brokers",
            "Retries of calls that no broker had seen, connections that failed, calls over the circuit breaker, hosts "
            "ejected for errors.",
            "ops",
            (
                Query(rate("envoy_cluster_upstream_rq_retry", UPSTREAM), "retries"),
                Query(rate("envoy_cluster_upstream_cx_connect_fail", UPSTREAM), "failed connections"),
                Query(rate("envoy_cluster_upstream_rq_pending_overflow", UPSTREAM), "overflows"),
                Query(rate("envoy_cluster_outlier_detection_ejections_enforced_total", UPSTREAM), "ejections"),
            ),
        ),
        Panel(
            "Limits that were not taken",
            "Rate limits reach the proxies as a file. Rising: a proxy refused one and keeps the old limits.",
            "short",
            (
                Query(
                    f"{gauge('sum by (pod)', 'envoy_http_rds_update_rejected', PROXY)}"
                    f" + {gauge('sum by (pod)', 'envoy_http_rds_update_failure', PROXY)}",
                    "{{pod}}",
                ),
            ),
        ),
    ),
)
