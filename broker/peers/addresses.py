"""Where the other brokers are."""

import asyncio
import re
import socket
from dataclasses import dataclass
from typing import Protocol

_ADDRESS = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.%\w]+\]):(\d{1,5})")


class Discovery(Protocol):
    """Knows where other brokers may be; this one may be among them."""

    complete: bool
    """Whether what it finds is all there is; otherwise brokers that call may be called back."""

    async def find(self) -> set[str]:
        """Return the addresses, HOST:PORT.

        Raises:
            OSError: they cannot be found out now.
        """


@dataclass(frozen=True)
class Listed:
    """Brokers that were named one by one."""

    addresses: frozenset[str]
    complete = True

    async def find(self) -> set[str]:
        """Return the list."""
        return set(self.addresses)


@dataclass(frozen=True)
class Named:
    """All addresses of a name, as a headless Service has."""

    host: str
    port: int
    complete = False

    async def find(self) -> set[str]:
        """Ask the system's resolver."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return {join(str(address[0]), self.port) for *_, address in found}


def parse_peers(text: str) -> Discovery:
    """Return what `--peers` names: dns:///NAME:PORT, or HOST:PORT,HOST:PORT.

    Raises:
        ValueError: it is neither.
    """
    name = text.strip().removeprefix("dns:").lstrip("/") if text.strip().startswith("dns:") else None
    parts = [part.strip() for part in text.split(",")] if name is None else [name]
    for part in parts:
        match = _ADDRESS.fullmatch(part)
        if match is None or int(match[2]) > 65535:
            raise ValueError(f"{text!r} is neither dns:///NAME:PORT nor HOST:PORT,HOST:PORT")
    if name is None:
        return Listed(frozenset(parts))
    host, _, port = name.rpartition(":")
    return Named(host.strip("[]"), int(port))


def join(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
