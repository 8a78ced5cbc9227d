"""Ask proxies which configuration they run, and read the logs of those that refuse the latest one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker_operator.inquiry import Inquiry
from broker_operator.kube import Kube, KubeError
from broker_operator.status import Observed, ProxyConfig, ProxyConfigs, Running, refusal
from broker_operator.status.pods import is_ready, pod_name

CONTAINER = "envoy"
LOG_LINES = 1000
LOG_BYTES = 512 * 1024
"""How much of a log is read: Envoy may quote all of what it refuses before it says why."""

Raw = Mapping[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """One Envoy process, as it was seen before."""

    wanted: str
    before: int
    """Its refusals of versions before the wanted one."""
    refusals: int
    error: str = ""


class Proxies:
    """The proxies of one BrokerCluster.

    Envoy counts refusals; that they were of the wanted version follows from having looked before it was wanted.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._settled: tuple[object, ProxyConfigs] | None = None

    def settled(self, seen: Observed) -> ProxyConfigs | None:
        """What all run, when that cannot have changed since they were asked."""
        return self._settled[1] if self._settled and self._settled[0] == _state(seen) else None

    async def look(self, kube: Kube, inquiry: Inquiry, seen: Observed) -> ProxyConfigs:
        """Ask all that run."""
        wanted, pods = seen.config_version, {pod_name(pod): pod for pod in seen.running_proxies}
        answers = await inquiry.configurations({name: pod["status"]["podIP"] for name, pod in pods.items()})
        told = {name: running for name, answer in answers.items() if (running := Running.read(answer))}
        processes = {name: _process(pod) for name, pod in pods.items()}
        self._known = {process: self._known[process] for process in processes.values() if process in self._known}
        found = []
        for name, pod in sorted(pods.items()):
            if name in told:
                found.append(await self._config(kube, pod, processes[name], told[name], wanted))
            elif is_ready(pod):
                found.append(ProxyConfig(name, error="it does not tell which configuration it runs"))
        configs = ProxyConfigs(wanted, tuple(found))
        current = not (configs.behind or configs.refused or configs.unknown)
        self._settled = (_state(seen), configs) if current else None
        return configs

    async def _config(self, kube: Kube, pod: Raw, process: str, running: Running, wanted: str) -> ProxyConfig:
        name, version = pod_name(pod), running.version(wanted)
        known = self._known.get(process)
        if version == wanted:
            self._known[process] = _Known(wanted, running.refusals, running.refusals)
            return ProxyConfig(name, version)
        if known is None:
            known = _Known(wanted, before=0, refusals=0)
        elif known.wanted != wanted:
            known = _Known(wanted, before=known.refusals, refusals=known.refusals)
        refused = running.refusals > known.before
        if refused and running.refusals != known.refusals:
            known = replace(known, error=await self._reason(kube, pod))
        self._known[process] = replace(known, refusals=running.refusals)
        return ProxyConfig(name, version, known.error, refused)

    async def _reason(self, kube: Kube, pod: Raw) -> str:
        namespace, name = pod["metadata"]["namespace"], pod_name(pod)
        try:
            log = await kube.log(namespace, name, CONTAINER, lines=LOG_LINES, most_bytes=LOG_BYTES)
        except KubeError as error:
            logger.debug("cannot read the log of %s: %s", name, error)
            log = ""
        return refusal(log) or f"see kubectl logs -n {namespace} {name} -c {CONTAINER}"


def _state(seen: Observed) -> object:
    """What changes whenever proxies are replaced, restarted or to run another configuration."""
    deployment = seen.proxy_deployment
    return seen.config_version, deployment and deployment["metadata"].get("resourceVersion")


def _process(pod: Raw) -> str:
    """Who counts: a restarted container begins at 0."""
    statuses = pod["status"].get("containerStatuses") or []
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    return f"{pod['metadata'].get('uid', pod_name(pod))}/{restarts}"
