"""HTTP for the kubelet and Prometheus: /livez, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from broker_operator.metrics import Metrics

#: A list of what is wrong; empty when nothing is.
Check = Callable[[], list[str]]


class Probes:
    """A small HTTP server on the operator's own event loop: a loop that hangs answers no probe."""

    def __init__(self, metrics: Metrics, *, live: Check, ready: Check) -> None:
        self._metrics = metrics
        app = web.Application()
        app.router.add_get("/livez", _probe(live))
        app.router.add_get("/readyz", _probe(ready))
        app.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Serve, and return the address bound. OSError when it is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, shutdown_timeout=1).start()
        bound = self._runner.addresses[0]
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Close the server and its connections."""
        await self._runner.cleanup()

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        problems = check()
        return web.Response(text="\n".join(problems) or "ok", status=503 if problems else 200)

    return answer
