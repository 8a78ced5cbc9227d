"""What a pass saw, as the condition functions take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from broker_operator.api import CONFIG_VERSION_ANNOTATION, BrokerCluster
from broker_operator.status.pods import (
    STORE_UNAVAILABLE,
    Trouble,
    first_trouble,
    is_ready,
    is_running,
    is_waiting,
    pod_name,
)
from broker_operator.status.proxies import ProxyConfigs
from broker_operator.status.rollout import Rollout

Raw = Mapping[str, Any]

COMPONENT_LABEL = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Failure:
    """An object that could not be brought to what the spec asks."""

    kind: str
    name: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.message}"


@dataclass(frozen=True)
class Observed:
    """One BrokerCluster and its objects, as the API server last gave them."""

    cluster: BrokerCluster
    now: datetime
    objects: tuple[Raw, ...] = ()
    pods: tuple[Raw, ...] = ()
    causes: Mapping[str, str] = field(default_factory=dict)
    """Why brokers are not ready in their own words, by the names of their pods."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """What the kubelet said of volumes that cannot be mounted, by the uids of their pods."""
    proxy_configs: ProxyConfigs = field(default_factory=ProxyConfigs)
    """Which configuration proxies run."""
    failures: tuple[Failure, ...] = field(default=())
    monitors_available: bool = True
    """Whether the API server knows ServiceMonitors."""

    @cached_property
    def brokers(self) -> Rollout:
        """How far the broker Deployment is."""
        return Rollout.of(self._deployment("broker"), wanted=self.cluster.spec.replicas)

    @cached_property
    def proxies(self) -> Rollout:
        """How far the proxy Deployment is."""
        proxy, deployment = self.cluster.spec.proxy, self._deployment("proxy")
        if proxy.autoscaling and deployment:
            return Rollout.of(deployment, wanted=deployment["spec"]["replicas"])
        return Rollout.of(deployment, wanted=proxy.fewest)

    @cached_property
    def broker_trouble(self) -> Trouble | None:
        """What keeps brokers from being ready, if anything is known."""
        return self._trouble("broker", self.brokers)

    @cached_property
    def proxy_trouble(self) -> Trouble | None:
        """What keeps proxies from being ready, if anything is known."""
        return self._trouble("proxy", self.proxies)

    @cached_property
    def config_trouble(self) -> Trouble | None:
        """The first proxy that refuses its configuration. It goes on with the one before, if it had one."""
        for proxy in self.proxy_configs.refused:
            before = f" and goes on with {proxy.version}" if proxy.version else ""
            refused = f"proxy {proxy.pod} refuses configuration {self.proxy_configs.wanted}{before}"
            return Trouble("ConfigRejected", f"{refused}: {proxy.error}")
        return None

    @property
    def unready_brokers(self) -> dict[str, str]:
        """The IP addresses of brokers that run and are not ready, by the names of their pods: they can be asked."""
        found = [pod for pod in self.pods if _component(pod) == "broker" and is_running(pod) and not is_ready(pod)]
        return {pod_name(pod): pod["status"]["podIP"] for pod in found}

    @property
    def waiting_pods(self) -> list[Raw]:
        """Pods whose containers have not begun: their volumes may be missing."""
        return [pod for pod in self.pods if is_waiting(pod)]

    @property
    def running_proxies(self) -> list[Raw]:
        """The pods of proxies that can be asked."""
        return [pod for pod in self.pods if _component(pod) == "proxy" and is_running(pod)]

    @property
    def proxy_deployment(self) -> Raw | None:
        """The Deployment of the proxies."""
        return self._deployment("proxy")

    @property
    def config_version(self) -> str:
        """The version of the configuration that proxies follow; empty when it could not be applied."""
        maps = [raw["metadata"].get("annotations") or {} for raw in self.objects if raw["kind"] == "ConfigMap"]
        return next((str(found[CONFIG_VERSION_ANNOTATION]) for found in maps if CONFIG_VERSION_ANNOTATION in found), "")

    @property
    def claims(self) -> list[Raw]:
        """The volume claims."""
        return [raw for raw in self.objects if raw["kind"] == "PersistentVolumeClaim"]

    def _deployment(self, component: str) -> Raw | None:
        for raw in self.objects:
            if raw["kind"] == "Deployment" and _component(raw) == component:
                return raw
        return None

    def _trouble(self, component: str, rollout: Rollout) -> Trouble | None:
        if rollout.complete:
            return None
        pods = [pod for pod in self.pods if _component(pod) == component]
        claims, causes = (self.claims, self.causes) if component == "broker" else ([], {})
        trouble = first_trouble(pods, claims, causes, self.mount_failures, now=self.now) or rollout.trouble
        postgres = self.cluster.spec.storage.postgres
        if trouble and trouble.reason == STORE_UNAVAILABLE and postgres:
            secret = postgres.dsn_secret_ref
            return replace(trouble, message=f"{trouble.message}; its URI is in Secret {secret.name}, key {secret.key}")
        return trouble


def _component(raw: Raw) -> str:
    return str((raw["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))
