"""The bounds of a whole proxy, and what it gives up as it comes near to them. Read once, when Envoy starts.

Memory is counted as Envoy's own heap. The memory of the pod (`cgroup_memory`) counts pages of files too, such as those
of Envoy's program: the kernel takes them back when it needs them, so they are no reason to turn clients away.
"""

from __future__ import annotations

from decimal import Decimal

from broker_operator.api import Proxy
from broker_operator.render.envoy.names import Config, typed

DEFAULT_HEAP = 2 * 1024**3
"""Bytes, where the pods have no memory limit."""
SHARE_OF_LIMIT = Decimal("0.8")
"""The heap's, of the pod's memory limit. The rest is for the program, stacks, and what grows between two looks."""

_MOST = 2**63 - 1
_SPAN = 2
"""Envoy measures up to so many times the bound; shares of the bound may be larger than 1 then."""

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_SUFFIXES = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def overload_manager(proxy: Proxy) -> Config:
    """Part of the bootstrap."""
    heap = typed(
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=_SPAN * _heap(proxy)
    )
    connections = typed(
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=proxy.connections.max_connections,
    )
    return {
        "refresh_interval": "0.05s",
        "resource_monitors": [
            {"name": _HEAP, "typed_config": heap},
            {"name": _CONNECTIONS, "typed_config": connections},
        ],
        # Calls whose buffers hold at least 2^13 bytes can be told apart, and are reset: the largest before others.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 13},
        "actions": [
            _from("shrink_heap", 0.75),
            # Envoy resets 50 calls whenever the share changes, and none while it stands still at its end, which must be
            # out of reach therefore.
            _growing("reset_high_memory_stream", 0.6, 1.2),
            {**_growing("reduce_timeouts", 0.75, 0.9), "typed_config": _timeouts()},
            # New calls get UNAVAILABLE at once, and may go to another proxy; those under way can end.
            _from("stop_accepting_requests", 0.95),
            _from("reject_incoming_connections", 0.98),
        ],
    }


def _heap(proxy: Proxy) -> int:
    share = int(_bytes(proxy.resources.limits.get("memory", "0")) * SHARE_OF_LIMIT)
    # A limit of 0 is none for Kubernetes, and refused by Envoy.
    return min(share, _MOST) or DEFAULT_HEAP


def _bytes(amount: str) -> Decimal:
    """A quantity as Kubernetes writes them: 512Mi, 1.5G, 1e9, 1000m."""
    number = amount.rstrip("kKmMGTPEi")
    return Decimal(number) * _SUFFIXES.get(amount[len(number) :], Decimal(1))


def _from(action: str, pressure: float) -> Config:
    return _action(action, {"threshold": {"value": pressure / _SPAN}})


def _growing(action: str, begins: float, saturated: float) -> Config:
    return _action(action, {"scaled": {"scaling_threshold": begins / _SPAN, "saturation_threshold": saturated / _SPAN}})


def _action(action: str, trigger: Config) -> Config:
    return {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": _HEAP, **trigger}]}


def _timeouts() -> Config:
    """Connections without calls are closed the sooner, the less memory is left."""
    return typed(
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        timer_scale_factors=[
            {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "5s"},
            {"timer": "TRANSPORT_SOCKET_CONNECT", "min_timeout": "2s"},
        ],
    )
