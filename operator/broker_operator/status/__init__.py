"""From what exists to what the user reads: pure functions, no I/O."""

from broker_operator.status.condition import Condition, Type, merged, transitions
from broker_operator.status.observed import Failure, Observed
from broker_operator.status.proxies import ProxyConfig, ProxyConfigs, Running, refusal
from broker_operator.status.report import held_up, invalid, paused, report

__all__ = [
    "Condition",
    "Failure",
    "Observed",
    "ProxyConfig",
    "ProxyConfigs",
    "Running",
    "Type",
    "held_up",
    "invalid",
    "merged",
    "paused",
    "refusal",
    "report",
    "transitions",
]
