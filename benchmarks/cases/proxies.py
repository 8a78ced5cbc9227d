"""Through Envoy: what it costs, and what balancing by subject brings."""

from benchmarks.cases.model import Case, Most, Share

BUSY = {"kind": "h2load", "connections": 8, "in_flight": 32}
SUBJECTS = {"kind": "unary", "connections": 8, "in_flight": 32}
FOLLOWERS = {"kind": "fan-out", "rate": 1000, "subjects": 20, "streams": 20, "frame": 1}

CASES = [
    # The broker's core is the bottleneck here, so that Envoy need not have one of its own.
    Case("direct-grpcio", "Publish, grpcio door, memory, no proxy", "grpcio", "memory", BUSY),
    Case(
        "proxy-grpcio",
        "the same through Envoy with everything on",
        "grpcio",
        "memory",
        {**BUSY, "secured": True},
        (Share(0.9, "direct-grpcio"),),
        proxy="everything",
    ),
    Case("proxy-bare", "Publish, memory, through an Envoy that only routes", "native", "memory", BUSY, proxy="bare"),
    Case("proxy-plain", "Publish, memory, through Envoy with nothing on", "native", "memory", BUSY, proxy="plain"),
    Case(
        "proxy-everything",
        "the same with TLS, API keys, limits by subject and client, balancing Subject",
        "native",
        "memory",
        {**BUSY, "secured": True},
        (Most("proxy_us", 40),),
        proxy="everything",
    ),
    *(
        Case(
            f"{short}-{name}",
            f"Publish, 2 replicas, {many}, balancing {balancing}",
            "native",
            "replicas",
            {**SUBJECTS, "subjects": subjects},
            proxy=proxy,
        )
        for name, many, subjects in (("many", "300 subjects", 300), ("hot", "1 subject", 1))
        for short, balancing, proxy in (("least", "LeastRequest", "plain"), ("subject", "Subject", "subject"))
    ),
    *(
        Case(
            f"{short}-followers",
            f"1,000 messages/s, 2 replicas, 20 subjects × 1 subscriber, balancing {balancing}",
            "native",
            "replicas",
            FOLLOWERS,
            proxy=proxy,
        )
        for short, balancing, proxy in (("least", "LeastRequest", "plain"), ("subject", "Subject", "subject"))
    ),
]
