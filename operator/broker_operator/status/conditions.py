"""One pure function per condition, from what a pass saw."""

from __future__ import annotations

from broker_operator.status.condition import Condition, Status, Type
from broker_operator.status.observed import Failure, Observed
from broker_operator.status.pods import STORE_UNAVAILABLE
from broker_operator.status.rollout import Rollout

_MONITORING_KINDS = frozenset({"ServiceMonitor"})


def all_of(seen: Observed) -> list[Condition]:
    """Every condition, in the order in which they are shown."""
    parts = (resources_synced(seen), store_reachable(seen), proxy_ready(seen))
    return [ready(seen, parts), progressing(seen), degraded(seen), *parts, monitoring_ready(seen)]


def ready(seen: Observed, parts: tuple[Condition, ...]) -> Condition:
    """True when every part is True. The first part that is not gives the reason."""
    for part in parts:
        if part.status != "True":
            return Condition(Type.READY, "False", part.reason, part.message)
    return Condition(Type.READY, "True", "Serving", f"{seen.brokers} brokers and {seen.proxies} proxies are ready")


def progressing(seen: Observed) -> Condition:
    """True while pods are being started or replaced, or a changed configuration is on its way to running proxies."""
    moving = [
        f"{name}: {_progress(rollout)}"
        for name, rollout in (("brokers", seen.brokers), ("proxies", seen.proxies))
        if not rollout.complete
    ]
    if not moving and seen.proxy_configs.behind:
        return Condition(Type.PROGRESSING, "True", "ConfigurationRollingOut", f"proxies: {seen.proxy_configs}")
    if not moving:
        return Condition(Type.PROGRESSING, "False", "Stable", "every pod that was asked for is ready")
    rolling = seen.brokers.rolling or seen.proxies.rolling
    return Condition(Type.PROGRESSING, "True", "RollingOut" if rolling else "Starting", "; ".join(moving))


def degraded(seen: Observed) -> Condition:
    """True when something is wrong that waiting does not mend."""
    if seen.failures:
        return Condition(Type.DEGRADED, "True", seen.failures[0].reason, _summary(seen.failures))
    trouble = seen.broker_trouble or seen.config_trouble or seen.proxy_trouble
    if trouble:
        return Condition(Type.DEGRADED, "True", trouble.reason, trouble.message)
    return Condition(Type.DEGRADED, "False", "AsExpected", "nothing is known to be wrong")


def resources_synced(seen: Observed) -> Condition:
    """True when every object that the spec asks for is applied."""
    if seen.failures:
        return Condition(Type.RESOURCES_SYNCED, "False", seen.failures[0].reason, _summary(seen.failures))
    return Condition(Type.RESOURCES_SYNCED, "True", "Applied", "every object is as the spec asks")


def store_reachable(seen: Observed) -> Condition:
    """True while a broker is ready: brokers are ready only while their store answers. They say why it does not."""
    brokers = seen.brokers
    if brokers.wanted == 0:
        return Condition(Type.STORE_REACHABLE, "Unknown", "ScaledToZero", "spec.replicas is 0: no broker runs")
    if brokers.ready:
        return Condition(Type.STORE_REACHABLE, "True", "BrokerReady", "a broker is ready, so its store answers")
    if trouble := seen.broker_trouble:
        status: Status = "False" if trouble.reason in ("VolumePending", STORE_UNAVAILABLE) else "Unknown"
        return Condition(Type.STORE_REACHABLE, status, trouble.reason, trouble.message)
    text = f"{brokers} brokers are ready: none can tell yet"
    return Condition(Type.STORE_REACHABLE, "Unknown", "NoBrokerReady", text)


def proxy_ready(seen: Observed) -> Condition:
    """True while at least one proxy takes connections and none refuses its configuration."""
    proxies, configs = seen.proxies, seen.proxy_configs
    if proxies.wanted == 0:
        return Condition(Type.PROXY_READY, "False", "ScaledToZero", "spec.proxy.replicas is 0: no proxy runs")
    if trouble := seen.config_trouble:
        return Condition(Type.PROXY_READY, "False", trouble.reason, trouble.message)
    if proxies.ready:
        text = f"{proxies} proxies are ready"
        detail = f"; {configs}" if configs.behind or configs.unknown else ""
        return Condition(Type.PROXY_READY, "True", "ProxyReady", f"{text}{detail}")
    if trouble := seen.proxy_trouble:
        return Condition(Type.PROXY_READY, "False", trouble.reason, trouble.message)
    return Condition(Type.PROXY_READY, "False", "NoProxyReady", f"{proxies} proxies are ready")


def monitoring_ready(seen: Observed) -> Condition:
    """True when Prometheus' and Grafana's objects are in place; no part of Ready."""
    if not seen.cluster.spec.monitoring.enabled:
        return Condition(Type.MONITORING_READY, "Unknown", "Disabled", "spec.monitoring.enabled is false")
    if not seen.monitors_available:
        return Condition(
            Type.MONITORING_READY,
            "False",
            "NoServiceMonitors",
            "the cluster does not know ServiceMonitors (monitoring.coreos.com/v1): install the Prometheus Operator "
            "(noticed within a minute), or set spec.monitoring.enabled to false",
        )
    failures = tuple(failure for failure in seen.failures if failure.kind in _MONITORING_KINDS)
    if failures:
        return Condition(Type.MONITORING_READY, "False", failures[0].reason, _summary(failures))
    return Condition(Type.MONITORING_READY, "True", "Applied", "ServiceMonitors and dashboards are in place")


def _summary(failures: tuple[Failure, ...]) -> str:
    rest = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{failures[0]}{rest}"


def _progress(rollout: Rollout) -> str:
    if rollout.rolling:
        return f"{min(rollout.updated, rollout.wanted)} of {rollout.wanted} up to date, {rollout.ready} ready"
    return f"{rollout.ready} of {rollout.wanted} ready"
