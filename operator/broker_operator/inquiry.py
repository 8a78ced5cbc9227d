"""Asks brokers that are not ready for the reason, and proxies which configuration they run: they know it best.

Beside the Kubernetes API this is all that the operator reads. What comes back is a line for people: whoever may run
pods with a BrokerCluster's labels may also write its status, so there is nothing to gain from lying.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import aiohttp
from yarl import URL

CAUSE_PATH = "/readyz"
CONFIG_PATH = "/config"
TIMEOUT_SECONDS = 2.0
AT_ONCE = 8
MOST = 16
"""How many brokers are asked: they share their store, so more would say the same again."""
_LONGEST_CAUSE = 1024
_LONGEST_CONFIG = 64 * 1024

_OK = 200
_NOT_READY = 503

logger = logging.getLogger(__name__)


class Inquiry:
    """Asks on one port, which is the same in all pods. Use as an async context manager."""

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
        asked = dict(sorted(addresses.items())[:MOST])
        answers = await self._answers(asked, CAUSE_PATH, _NOT_READY, _LONGEST_CAUSE)
        return {name: line for name, answer in answers.items() if (line := _one_line(answer))}

    async def configurations(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """What proxies tell of their configuration, by their names; given their IP addresses by name.

        Those that do not answer are left out.
        """
        answers = await self._answers(addresses, CONFIG_PATH, _OK, _LONGEST_CONFIG)
        return {name: answer for name, answer in answers.items() if answer}

    async def _answers(self, addresses: Mapping[str, str], path: str, status: int, longest: int) -> dict[str, str]:
        answers = await asyncio.gather(*(self._answer(at, path, status, longest) for at in addresses.values()))
        return dict(zip(addresses, answers, strict=True))

    async def _answer(self, address: str, path: str, status: int, longest: int) -> str:
        """The answer if it has the status, otherwise nothing."""
        if self._session is None:
            raise RuntimeError("ask inside of `async with`")
        url = URL.build(scheme="http", host=address, port=self._port, path=path)
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                body = await answer.content.read(longest) if answer.status == status else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("%s does not answer: %s", url, error or type(error).__name__)
            return ""
        return body.decode(errors="replace")


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
