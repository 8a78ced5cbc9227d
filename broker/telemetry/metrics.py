"""Every metric of the broker, declared in one place. Labels have few values: never a subject, never a client."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from broker.telemetry.instruments import Count, Counters, Distribution, Histograms

CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STORE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
FLUSH_MESSAGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """The broker's metrics on a registry of their own (so that several brokers can live in one test process)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counters(name: str, text: str, *labels: str) -> Counters:
            return Counters(f"broker_{name}", text, labels, registry)

        def counter(name: str, text: str) -> Count:
            return counters(name, text).labels()

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"broker_{name}", text, labels, registry=registry)

        def histograms(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histograms:
            return Histograms(f"broker_{name}", text, labels, bounds, registry)

        def histogram(name: str, text: str, bounds: tuple[float, ...]) -> Distribution:
            return histograms(name, text, bounds).labels()

        self.info = gauge("info", "1, with what this broker is as labels.", ("version", "store", "door"))

        self.calls = counters("calls", "gRPC calls that ended, by status code.", "method", "code")
        self.call_seconds = histograms(
            "call_duration_seconds", "From a call (or a frame of a stream) to its answer.", CALL_SECONDS, "method"
        )
        self.received_bytes = counter("received_bytes", "Bytes of request messages.")
        self.sent_bytes = counter("sent_bytes", "Bytes of response messages.")

        questions = counters("quota_questions", "Times a proxy was asked for quota, by what came of it.", "result")
        self.quota_admitted, self.quota_refused = questions.labels("admitted"), questions.labels("refused")
        self.quota_failed = questions.labels("failed")
        self.quota_seconds = histogram("quota_duration_seconds", "Time of one such question.", STORE_SECONDS)

        self.published = counters("messages_published", "Messages that took an id, by whether they are kept.", "kind")
        self.duplicates = counter(
            "messages_duplicate", "Messages that were published before, by their keys, and so not again."
        )
        self.refused = counters("messages_refused", "Messages that were refused, by reason.", "reason")
        self.delivered = counter("messages_delivered", "Messages handed to subscribers' queues.")
        self.missed = counter(
            "messages_missed", "Messages a slow subscriber missed: fire-and-forget, or expired before it read them."
        )
        self.expired = counter("messages_expired", "Messages deleted from the store after their expiry.")

        self.subscriptions = gauge("subscriptions", "Subscriptions that stand.")
        self.lagging = gauge("subscriptions_lagging", "Subscriptions that read from the store, not from the live flow.")
        self.overflows = counter("subscription_overflows", "Times a subscriber was too slow for the live flow.")

        self.peers_known = gauge("peers", "Other brokers on the same store that are known.")
        self.peers_connected = gauge("peers_connected", "Those of them whose commits arrive here.")
        self.peer_commits = counters(
            "peer_commits", "Commits exchanged with other brokers, by what became of them.", "event"
        )
        self.reorder_messages = gauge("reorder_messages", "Messages that wait for others before them to arrive.")
        self.gaps_filled = counter("gaps_filled", "Times that messages which did not arrive were read from the store.")
        self.gap_messages = counter("gap_messages", "Messages that did not arrive and were read from the store.")
        self.delivery_lag_messages = gauge(
            "delivery_lag_messages", "Messages known to be committed that did not arrive here, of the worst subject."
        )
        self.delivery_lag_seconds = gauge("delivery_lag_seconds", "For how long the oldest such gap has been open.")

        self.tls_expiry = gauge(
            "tls_certificate_expiry_timestamp_seconds", "When the first certificate in a file ends.", ("certificate",)
        )
        self.tls_reloads = counters(
            "tls_reloads", "Times that changed TLS files were read, by what came of it.", "result"
        )

        self.denied = counters(
            "denied", "Calls and messages that were refused because their client may not do this.", "action"
        )
        self.authorization_reloads = counters(
            "authorization_reloads",
            "Times that the changed rules of authorization were read, by what came of it.",
            "result",
        )

        self.queue_messages = gauge("queue_messages", "Messages that wait for the store.")
        self.queue_bytes = gauge("queue_bytes", "Bytes of messages that wait for the store.")
        self.flush_messages = histogram("flush_messages", "Messages in one commit.", FLUSH_MESSAGES)
        self.store_seconds = histograms(
            "store_duration_seconds", "Time of one operation of the store.", STORE_SECONDS, "operation"
        )
        self.store_errors = counters(
            "store_errors", "Operations of the store that failed, by reason.", "operation", "reason"
        )
        self.keys_forgotten = counter(
            "keys_forgotten", "Message keys that were forgotten before their time because memory is limited."
        )
        self.store_bytes = gauge("store_bytes", "Bytes the store holds.")
        self.store_limit_bytes = gauge("store_limit_bytes", "The bound of broker_store_bytes; 0 where there is none.")

        self.cache_hits = counter("cache_hits", "Fetched messages found in the cache.")
        self.cache_misses = counter("cache_misses", "Fetched messages looked up in the store.")
        self.cache_bytes = gauge("cache_bytes", "Bytes of messages in the cache.")

        self.published_stored = self.published.labels("stored")
        self.published_transient = self.published.labels("transient")

    def sampled(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Let a gauge ask for its value when it is scraped, which costs nothing between scrapes."""
        gauge.set_function(read)
