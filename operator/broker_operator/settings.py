"""The operator's settings: read from the environment once, frozen, handed to those who need them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SettingsError(ValueError):
    """A setting has no usable value; the message names the variable."""


def _setting(variable: str, default: Any, about: str, read: Callable[[str], Any] = str) -> Any:
    """A field of `Settings`: its environment variable, its default (or what makes it), and what it means."""
    metadata = {"variable": variable, "read": read, "about": about}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.replace(",", " ").split() if name)


def _flag(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError("must be true or false")
    return values[text.lower()]


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("must be more than 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _choice(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text.lower()

    return read


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT")
    return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Settings:
    """All settings. Durations are in seconds."""

    broker_image: str = _setting("BROKER_IMAGE", "", "image of broker pods whose spec names none (required)")
    proxy_image: str = _setting("PROXY_IMAGE", "", "image of proxy pods whose spec names none (required)")
    namespaces: tuple[str, ...] = _setting(
        "OPERATOR_NAMESPACES", (), "namespaces to look after, by comma; empty: all", _names
    )
    http: tuple[str, int] = _setting("OPERATOR_HTTP", ("0.0.0.0", 8080), "HOST:PORT of probes and metrics", _address)  # noqa: S104
    leader_election: bool = _setting("OPERATOR_LEADER_ELECTION", True, "work only while holding the Lease", _flag)
    lease_namespace: str = _setting("OPERATOR_LEASE_NAMESPACE", "broker-system", "namespace of the Lease")
    lease_name: str = _setting("OPERATOR_LEASE_NAME", "broker-operator", "name of the Lease")
    lease_duration: float = _setting("OPERATOR_LEASE_DURATION", 15.0, "a silent leader keeps others out", _positive)
    renew_deadline: float = _setting("OPERATOR_RENEW_DEADLINE", 10.0, "a silent leader stops work", _positive)
    retry_period: float = _setting("OPERATOR_RETRY_PERIOD", 2.0, "between looks at the Lease", _positive)
    identity: str = _setting("OPERATOR_IDENTITY", socket.gethostname, "this replica's name in the Lease")
    resync: float = _setting("OPERATOR_RESYNC", 300.0, "between passes with nothing to do (± 20 %)", _positive)
    discovery: float = _setting("OPERATOR_DISCOVERY", 30.0, "between looks for optional kinds", _positive)
    backoff_limit: float = _setting("OPERATOR_BACKOFF_LIMIT", 300.0, "longest wait after failures in a row", _positive)
    concurrency: int = _setting("OPERATOR_CONCURRENCY", 4, "passes at the same time", _count)
    request_timeout: float = _setting("OPERATOR_REQUEST_TIMEOUT", 30.0, "of one request to the API server", _positive)
    log_format: str = _setting("OPERATOR_LOG_FORMAT", "json", "json or text", _choice("json", "text"))
    log_level: str = _setting(
        "OPERATOR_LOG_LEVEL", "info", "debug, info, warning or error", _choice("debug", "info", "warning", "error")
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read all settings. Raises `SettingsError` for the first that is wrong or missing."""
        values = {}
        for each in fields(cls):
            text = environment.get(each.metadata["variable"], "").strip()
            if text:
                values[each.name] = _read(each.metadata, text)
        settings = cls(**values)
        settings._check()
        return settings

    @classmethod
    def table(cls) -> str:
        """Every setting with its meaning and default, a line each."""
        lines = []
        for each in fields(cls):
            default = _shown(getattr(cls, each.name, "the host's name"))
            lines.append(f"  {each.metadata['variable']:<26} {each.metadata['about']} [{default}]")
        return "\n".join(lines)

    def _check(self) -> None:
        for variable, image in (("BROKER_IMAGE", self.broker_image), ("PROXY_IMAGE", self.proxy_image)):
            if not image:
                raise SettingsError(f"{variable} is not set: name the image to run, e.g. registry.example/name:1.0")
        if not self.retry_period < self.renew_deadline < self.lease_duration:
            raise SettingsError("OPERATOR_RETRY_PERIOD < OPERATOR_RENEW_DEADLINE < OPERATOR_LEASE_DURATION must hold")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(metadata: Mapping[str, Any], text: str) -> Any:
    try:
        return metadata["read"](text)
    except ValueError as error:
        raise SettingsError(f"{metadata['variable']}={text}: {error}") from None
