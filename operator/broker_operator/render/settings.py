"""What rendering needs beside the spec."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """The operator's defaults, and what the Kubernetes at hand knows."""

    broker_image: str
    """The image of brokers whose spec names none."""
    proxy_image: str
    """The image of proxies whose spec names none."""
    version: str
    """The operator's version. It is a label of the objects, never of pods: an upgrade alone restarts nothing."""
    available_kinds: frozenset[str]
    """Optional kinds that the API server has, e.g. `ServiceMonitor`. Objects of other optional kinds are left out."""
