"""Asks brokers that are not ready for the reason, which they know better than Kubernetes does.

Beside the Kubernetes API this is all that the operator reads. What comes back is a line for people: whoever may run
pods with a BrokerCluster's labels may also write its status, so there is nothing to gain from lying.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import aiohttp
from yarl import URL

PATH = "/readyz"
TIMEOUT_SECONDS = 2.0
AT_ONCE = 8
MOST = 16
"""How many brokers are asked: they share their store, so more would say the same again."""
_LONGEST = 1024

_NOT_READY = 503

logger = logging.getLogger(__name__)


class Inquiry:
    """Asks on one port of every broker. Use as an async context manager."""

    def __init__(self, port: int, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._port = port
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Inquiry:
        # Pods come and go: a connection is not worth keeping.
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def causes(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """Why brokers are not ready, by their names; given their IP addresses by name.

        Those that do not answer, or are ready by now, are left out.
        """
        asked = sorted(addresses.items())[:MOST]
        answers = await asyncio.gather(*(self._cause(address) for _, address in asked))
        return {name: answer for (name, _), answer in zip(asked, answers, strict=True) if answer}

    async def _cause(self, address: str) -> str:
        if self._session is None:
            raise RuntimeError("ask inside of `async with`")
        url = URL.build(scheme="http", host=address, port=self._port, path=PATH)
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                body = await answer.content.read(_LONGEST) if answer.status == _NOT_READY else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("%s does not say why it is not ready: %s", url, error or type(error).__name__)
            return ""
        return _one_line(body.decode(errors="replace"))


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
