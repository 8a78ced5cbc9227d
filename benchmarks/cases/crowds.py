"""What thousands of subscriptions cost in memory."""

from benchmarks.cases.model import MEBI, Case, Most

CROWD = {"connections": 10, "streams": 5000}
READY_CROWD = 110
"""MiB that a broker with 5,000 idle subscriptions may take."""
BUDGET = 128
"""MiB that may wait for all subscribers together (--delivery-queue-bytes)."""
CACHE = 32
"""MiB of recent messages (--cache-bytes)."""

CASES = [
    Case(
        "idle",
        "5,000 idle subscribers",
        "native",
        "memory",
        {**CROWD, "kind": "idle", "batched": False},
        (Most("held_bytes", READY_CROWD * MEBI),),
        unit="subscriptions",
    ),
    Case(
        "flood",
        "5,000 flooded subscribers that never read, then gone",
        "native",
        "memory",
        {**CROWD, "kind": "flood", "messages": 20_000, "in_flight": 16, "rate": 500},
        (Most("peak_bytes", (READY_CROWD + BUDGET + CACHE) * MEBI), Most("left", 1.2)),
        unit="subscriptions",
    ),
]
