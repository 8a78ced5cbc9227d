"""Two brokers on one PostgreSQL, a core each; the load shares the second one's."""

from benchmarks.cases.model import Case, Least, Most

FOLLOWERS = {"kind": "fan-out", "rate": 1000, "subjects": 20}
MANY = {**FOLLOWERS, "connections": 20, "streams": 1000}
IN_TIME = (Most("p50_ms", 5), Most("p99_ms", 25))

CASES = [
    Case(
        "replicas",
        "1,000 messages/s to one replica, 20 subjects × 50 SubscribeBatch on another, 10 a frame",
        "native",
        "replicas",
        {**MANY, "frame": 10},
        (Least(49_000), *IN_TIME),
    ),
    Case("replicas-single", "the same, 1 a frame", "native", "replicas", {**MANY, "frame": 1}),
    Case(
        "replicas-one-each",
        "1,000 messages/s to one replica, 20 subjects × 1 SubscribeBatch on another, 1 a frame",
        "native",
        "replicas",
        {**FOLLOWERS, "streams": 20, "frame": 1},
        (Least(990), *IN_TIME),
    ),
    Case(
        "replicas-publish",
        "Publish, 2 replicas, each its own subject, 256 in flight",
        "native",
        "replicas",
        {"kind": "unary", "connections": 8, "in_flight": 32},
    ),
]
