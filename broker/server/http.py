"""/metrics, /livez and /readyz, on threads of their own: they answer even when the event loop does not."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from broker.server.addresses import with_port

BEAT = 1.0
"""Seconds between two signs of life of the event loop."""
DEAD_AFTER = 15.0
"""Seconds without a sign of life after which /livez fails."""

StartResponse = Callable[..., Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False


class _Server6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds; a client that says nothing does not keep a thread

    def log_message(self, *_: object) -> None:
        """Say nothing: probes and scrapes come every few seconds."""


class HttpServer:
    """Serves metrics and probes. `ready` returns an empty string, or why this broker is not ready."""

    def __init__(self, address: str, registry: CollectorRegistry, ready: Callable[[], str]) -> None:
        self._ready = ready
        self._metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)
        self._last_beat = time.monotonic()
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        kind = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, int(port), self._app, server_class=kind, handler_class=_QuietHandler)
        except OSError as error:
            raise OSError(f"cannot listen on {address} for HTTP: {error.strerror or error}") from None
        self.address = with_port(address, self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    async def beat(self) -> None:
        """Give signs of life of the running event loop until cancelled."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT)

    def _app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/livez":
                silent = time.monotonic() - self._last_beat
                problem = f"the event loop has not moved for {silent:.0f} s" if silent > DEAD_AFTER else ""
            case "/readyz":
                problem = self._ready()
            case _:
                return _respond(start_response, "404 Not Found", "there are /metrics, /livez and /readyz here")
        return _respond(start_response, "503 Service Unavailable" if problem else "200 OK", problem or "ok")


def _respond(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [f"{text}\n".encode()]
