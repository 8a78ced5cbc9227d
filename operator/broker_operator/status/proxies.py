"""Which configuration each proxy runs, and in Envoy's own words why one refuses the latest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_VERSION = ".version_text"
_REFUSALS = (".update_rejected", ".update_failure")
_LONGEST = 600
# Up to the next entry of the log; Envoy may quote all of what it refuses before it says why.
_REFUSAL = re.compile(
    r"Filesystem config update (?:rejected|failure): (.*?)(?=^\[\d{4}-\d\d-\d\d |\Z)", re.DOTALL | re.MULTILINE
)
_CONSTRAINT = re.compile(r"Proto constraint validation failed.*", re.DOTALL)
_QUOTED = re.compile(r"goo\.gle/debugstr.*|(?<=\)): \".*", re.DOTALL)
"""What is refused itself: long, and it may have keys in it."""


@dataclass(frozen=True)
class Running:
    """What a proxy tells: the version of each part of its configuration, and how many it has refused so far."""

    versions: Mapping[str, str]
    refusals: int

    @classmethod
    def read(cls, text: str) -> Running | None:
        """From the statistics of Envoy's as JSON; None for anything else."""
        try:
            stats = [(str(stat["name"]), stat["value"]) for stat in json.loads(text)["stats"]]
            versions = {name.removesuffix(_VERSION): str(value) for name, value in stats if name.endswith(_VERSION)}
            return cls(versions, sum(int(value) for name, value in stats if name.endswith(_REFUSALS)))
        except (ValueError, TypeError, KeyError):
            return None

    def version(self, wanted: str) -> str:
        """The wanted version if every part is of it, otherwise that of a part that is not."""
        return next((version for _, version in sorted(self.versions.items()) if version != wanted), wanted)


@dataclass(frozen=True)
class ProxyConfig:
    """One proxy and its configuration."""

    pod: str
    version: str = ""
    """Empty: nobody knows."""
    error: str = ""
    refused: bool = False
    """Whether it refuses the latest version."""

    def shown(self) -> dict[str, str]:
        """As in the status."""
        fields = {"pod": self.pod, "version": self.version, "error": self.error}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class ProxyConfigs:
    """The proxies that run, beside the version that they should."""

    wanted: str = ""
    proxies: tuple[ProxyConfig, ...] = field(default=())

    @property
    def refused(self) -> list[ProxyConfig]:
        """Those that refuse the wanted version."""
        return [proxy for proxy in self.proxies if proxy.refused]

    @property
    def behind(self) -> list[ProxyConfig]:
        """Those that run another version because the wanted one has not reached them yet."""
        return [proxy for proxy in self.proxies if proxy.version not in ("", self.wanted) and not proxy.refused]

    @property
    def unknown(self) -> list[ProxyConfig]:
        """Those that do not tell."""
        return [proxy for proxy in self.proxies if not proxy.version]

    def __str__(self) -> str:
        current = sum(proxy.version == self.wanted for proxy in self.proxies)
        return f"{current} of {len(self.proxies)} run configuration {self.wanted}"

    def shown(self) -> dict[str, Any]:
        """As in the status. An empty list would be one that the API server does not keep."""
        proxies = [proxy.shown() for proxy in self.proxies]
        return {"version": self.wanted, "proxies": proxies} if proxies else {"version": self.wanted}


def refusal(log: str) -> str:
    """Why Envoy refused a configuration the last time, by the end of its log; one line, empty when it does not say."""
    told = "\n".join(line for line in log.splitlines() if not line.startswith("{"))  # the calls that failed
    found = _REFUSAL.findall(told)
    text = found[-1] if found else told
    if constraint := _CONSTRAINT.search(text):
        text = constraint[0].partition("\n")[0]
    elif not found:
        return ""
    text = _QUOTED.sub("", text)
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
