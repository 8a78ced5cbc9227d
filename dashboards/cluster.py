"""What the dashboard of a BrokerCluster shows."""

from dashboards.broker_rows import CALLS, DOORS, MESSAGES, PROCESSES, REPLICAS, STORE, SUBSCRIPTIONS
from dashboards.model import Dashboard, Panel, Query, Row, Variable
from dashboards.promql import FAILED, PROXY, gauge, rate
from dashboards.proxy_rows import LIMITS, PROXIES


def _number(title: str, description: str, unit: str, expr: str) -> Panel:
    return Panel(title, description, unit, (Query(expr, title.lower()),), kind="stat", width=4, height=4)


OVERVIEW = Row(
    "Overview",
    (
        _number("Brokers up", "Brokers that Prometheus can scrape.", "short", gauge("sum", "up")),
        _number("Proxies up", "Proxies that Prometheus can scrape.", "short", gauge("sum", "up", PROXY)),
        _number(
            "Published",
            "Messages that were committed, in a second.",
            "mps",
            rate("broker_messages_published_total"),
        ),
        _number(
            "Delivered",
            "Messages handed to subscribers, in a second, counted once for each subscriber.",
            "mps",
            rate("broker_messages_delivered_total"),
        ),
        _number("Subscriptions", "Subscriptions that stand now.", "short", gauge("sum", "broker_subscriptions")),
        _number(
            "Server errors",
            "The share of calls that failed by no fault of the client. Limits that clients ran into are not in it.",
            "percentunit",
            f"({rate('broker_calls_total', FAILED)} or vector(0)) / {rate('broker_calls_total')}",
        ),
    ),
)

DASHBOARD = Dashboard(
    title="BrokerCluster",
    uid="brokercluster",
    description="The brokers and proxies of one BrokerCluster.",
    variables=(
        Variable("namespace", "Namespace", "label_values(broker_info, namespace)"),
        Variable("cluster", "Cluster", 'label_values(broker_info{namespace="$namespace"}, app_kubernetes_io_instance)'),
    ),
    rows=(OVERVIEW, CALLS, MESSAGES, SUBSCRIPTIONS, LIMITS, STORE, REPLICAS, DOORS, PROCESSES, PROXIES),
)
