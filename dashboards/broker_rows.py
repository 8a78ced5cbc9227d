"""What the brokers tell."""

from dashboards.model import Panel, Query, Row
from dashboards.promql import BROKER, PROXY, UPSTREAM, UPSTREAM_CALLS, gauge, quantile, rate

CALLS = Row(
    "Calls",
    (
        Panel(
            "Calls by code",
            "Calls that ended, by method and gRPC status. Streams count when they end.",
            "reqps",
            (Query(rate("broker_calls_total", by="method, code"), "{{method}} {{code}}"),),
            stacked=True,
        ),
        Panel(
            "Latency in the broker",
            "From the arrival of a request (or frame of PublishStream) to its answer, with the commit in between.",
            "s",
            (
                Query(quantile(0.5, "broker_call_duration_seconds", by="method"), "p50 {{method}}"),
                Query(quantile(0.99, "broker_call_duration_seconds", by="method"), "p99 {{method}}"),
            ),
        ),
        Panel(
            "Latency seen by the proxies",
            "From the proxy's request to the broker's last byte, without streams. Far above the broker's own latency: "
            "the way between them, or brokers that wait for CPU.",
            "ms",
            (
                Query(
                    quantile(0.5, "envoy_cluster_grpc_upstream_rq_time", UPSTREAM_CALLS, by="grpc_method"),
                    "p50 {{grpc_method}}",
                ),
                Query(
                    quantile(0.99, "envoy_cluster_grpc_upstream_rq_time", UPSTREAM_CALLS, by="grpc_method"),
                    "p99 {{grpc_method}}",
                ),
            ),
        ),
    ),
)

MESSAGES = Row(
    "Messages",
    (
        Panel(
            "Messages in",
            "Committed messages: stored ones can be fetched and replayed, transient ones are only delivered live. "
            "Duplicates had been published before, with the same key: nothing was committed.",
            "mps",
            (
                Query(rate("broker_messages_published_total", by="kind"), "{{kind}}"),
                Query(rate("broker_messages_duplicate_total"), "duplicate"),
            ),
            stacked=True,
        ),
        Panel(
            "Messages out",
            "Messages handed to subscribers, once for each subscriber, and messages that expired.",
            "mps",
            (
                Query(rate("broker_messages_delivered_total"), "delivered"),
                Query(rate("broker_messages_expired_total"), "expired"),
            ),
        ),
        Panel(
            "Bytes",
            "Bytes of requests that arrived and of answers and messages that left.",
            "Bps",
            (
                Query(rate("broker_received_bytes_total"), "received"),
                Query(rate("broker_sent_bytes_total"), "sent"),
            ),
        ),
    ),
)

SUBSCRIPTIONS = Row(
    "Subscriptions",
    (
        Panel(
            "Subscriptions",
            "Those that stand, and those that lag: too slow for the live flow, so they read from the store.",
            "short",
            (
                Query(gauge("sum", "broker_subscriptions"), "standing"),
                Query(gauge("sum", "broker_subscriptions_lagging"), "lagging"),
            ),
        ),
        Panel(
            "Slow subscribers",
            "Overflows: how often a subscriber's queue was full and it fell behind; it loses nothing that is stored. "
            "Missed: transient messages that it did not get.",
            "cps",
            (
                Query(rate("broker_subscription_overflows_total"), "overflows"),
                Query(rate("broker_messages_missed_total"), "missed messages"),
            ),
        ),
        Panel(
            "Streams open at the proxies",
            "Streams and other calls under way, by the proxies' count. Each has a limit of its own there.",
            "short",
            (
                Query(
                    gauge("sum by (envoy_cluster_name)", "envoy_cluster_upstream_rq_active", UPSTREAM),
                    "{{envoy_cluster_name}}",
                ),
            ),
        ),
    ),
)

STORE = Row(
    "Store",
    (
        Panel(
            "Store time",
            "How long the store takes for an operation. An append commits a whole group of messages.",
            "s",
            (
                Query(quantile(0.5, "broker_store_duration_seconds", by="operation"), "p50 {{operation}}"),
                Query(quantile(0.99, "broker_store_duration_seconds", by="operation"), "p99 {{operation}}"),
            ),
        ),
        Panel(
            "Store errors",
            "Operations that failed, by reason. STORE_UNAVAILABLE is the store's fault, STORE_FULL wants room.",
            "ops",
            (
                Query(
                    rate("broker_store_errors_total", by="operation, reason"),
                    "{{operation}} {{reason}}",
                    sparse=True,
                ),
            ),
        ),
        Panel(
            "Messages in a commit",
            "How many messages share a commit. It grows with the load by itself: that is what keeps up the rate.",
            "short",
            (
                Query(
                    f"{rate('broker_flush_messages_sum')} / {rate('broker_flush_messages_count')}",
                    "mean",
                ),
                Query(quantile(0.99, "broker_flush_messages"), "p99"),
            ),
        ),
        Panel(
            "Store size",
            "What the store holds, and its limit where it has one, by broker.",
            "bytes",
            (
                Query(gauge("sum by (pod)", "broker_store_bytes"), "{{pod}}"),
                Query(f"{gauge('sum by (pod)', 'broker_store_limit_bytes')} > 0", "limit of {{pod}}"),
            ),
        ),
        Panel(
            "Cache hits",
            "The share of reads that the cache of recent messages answered. No reads, no line.",
            "percentunit",
            (
                Query(
                    f"{rate('broker_cache_hits_total')} / "
                    f"({rate('broker_cache_hits_total')} + {rate('broker_cache_misses_total')})",
                    "hits",
                ),
            ),
        ),
        Panel(
            "Cache size",
            "Recent messages that are kept for fetches and for subscribers that catch up, by broker.",
            "bytes",
            (Query(gauge("sum by (pod)", "broker_cache_bytes"), "{{pod}}"),),
        ),
    ),
)

REPLICAS = Row(
    "Replicas on one database",
    (
        Panel(
            "Brokers that do not hear each other",
            "Other brokers that a broker knows and is not connected with, by pod. Their messages are read from the "
            "database, which is slower, and fire-and-forget messages of theirs do not arrive: look at the network "
            "policies and at the log.",
            "short",
            (
                Query(
                    f"{gauge('sum by (pod)', 'broker_peers')} - {gauge('sum by (pod)', 'broker_peers_connected')}",
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Commits between brokers",
            "Sent to and received from other brokers. Dropped: the other one took them too slowly and reads them "
            "from the database.",
            "ops",
            (Query(rate("broker_peer_commits_total", by="event"), "{{event}}", sparse=True),),
        ),
        Panel(
            "Messages read to close gaps",
            "Messages of other brokers that did not arrive in time and were read from the database, by pod.",
            "mps",
            (Query(rate("broker_gap_messages_total", by="pod"), "{{pod}}"),),
        ),
        Panel(
            "Delivery lag",
            "For how long messages that are known to be committed have been missing, by pod.",
            "s",
            (Query(gauge("max by (pod)", "broker_delivery_lag_seconds"), "{{pod}}"),),
        ),
    ),
)

DOORS = Row(
    "Doors",
    (
        Panel(
            "Connections and calls",
            "What stands at the brokers (the portable door does not know its connections).",
            "short",
            (
                Query(gauge("sum", "broker_door_connections"), "connections", sparse=True),
                Query(gauge("sum", "broker_door_calls"), "calls"),
            ),
        ),
        Panel(
            "Bytes in and out",
            "What goes over the connections of clients, with everything that HTTP/2 adds.",
            "Bps",
            (
                Query(rate("broker_door_received_bytes_total"), "in", sparse=True),
                Query(rate("broker_door_sent_bytes_total"), "out", sparse=True),
            ),
        ),
        Panel(
            "Bytes that wait",
            "For clients that do not take them (--delivery-queue-bytes bounds them), and for the broker to look at.",
            "bytes",
            (
                Query(gauge("max by (pod)", "broker_door_queued_bytes"), "for clients {{pod}}"),
                Query(gauge("max by (pod)", "broker_door_waiting_bytes"), "for {{pod}}", sparse=True),
            ),
        ),
        Panel(
            "Turned away",
            "Calls that the door refused or that their clients gave up, and connections that it closed. Reasons that "
            "begin with too_many: a bound of the door is reached.",
            "reqps",
            (
                Query(rate("broker_door_refused_total", by="reason"), "{{reason}}", sparse=True),
                Query(rate("broker_door_calls_cancelled_total"), "cancelled"),
                Query(
                    rate("broker_door_connection_events_total", f'{BROKER}, event!="accepted"', by="event"),
                    "connections {{event}}",
                    sparse=True,
                ),
            ),
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "CPU of brokers",
            "Cores used, by pod. A broker works on one core: near 1, add replicas or batch more.",
            "short",
            (Query(rate("process_cpu_seconds_total", by="pod"), "{{pod}}"),),
        ),
        Panel(
            "Memory of brokers",
            "Resident memory, by pod.",
            "bytes",
            (Query(gauge("sum by (pod)", "process_resident_memory_bytes"), "{{pod}}"),),
        ),
        Panel(
            "Memory of proxies",
            "What Envoy has allocated, by pod.",
            "bytes",
            (Query(gauge("sum by (pod)", "envoy_server_memory_allocated", PROXY), "{{pod}}"),),
        ),
    ),
)
