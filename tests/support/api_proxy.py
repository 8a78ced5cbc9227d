"""An HTTP proxy before a Kubernetes API server: records what was asked, and can be cut like a cable."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from kubernetes.aio.client import Configuration

_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_DROPPED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Request(NamedTuple):
    """A request in the words of RBAC."""

    verb: str
    group: str
    resource: str

    @classmethod
    def of(cls, method: str, path: str, *, watch: bool) -> Request | None:
        """None for discovery, which everybody may do."""
        parts = path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        if not rest:
            return None
        resource = "/".join([rest[0], *rest[2:]])
        verb = _VERBS.get(method) or ("watch" if watch else "get" if len(rest) > 1 else "list")
        return cls(verb, group, resource)


class ApiProxy:
    """Serves on a port of its own, with no credentials of its own: the caller's token is passed on."""

    def __init__(self, upstream: Configuration) -> None:
        self._upstream = upstream
        self._sessions: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.requests: list[Request] = []
        self.failures: list[tuple[Request, int]] = []
        self.rewritten: dict[bytes, bytes] = {}
        """What to read instead of what, in the answer to a GET."""
        self.hidden: set[str] = set()
        """API groups that the server pretends not to know."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> ApiProxy:
        # Only the admin's trust is taken, not the admin's certificate.
        context = ssl.create_default_context(cafile=self._upstream.ssl_ca_cert)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # many clusters' own authorities lack a key identifier
        self._sessions = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), auto_decompress=False
        )
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        assert self._sessions
        await self._sessions.close()

    async def cut(self) -> None:
        """Close the port and every connection."""
        if self._runner:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def restore(self) -> None:
        """Serve again, on the same port."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        assert self._sessions
        if self.hidden & set(request.path.split("/")[2:3]):
            return web.json_response({"kind": "Status", "code": 404, "message": "no such group"}, status=404)
        asked = Request.of(request.method, request.path, watch="watch" in request.query)
        if asked:
            self.requests.append(asked)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
        async with self._sessions.request(
            request.method,
            f"{self._upstream.host}{request.path_qs}",
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=["Accept-Encoding"],
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if asked and answer.status >= 400:
                self.failures.append((asked, answer.status))
            if asked and asked.verb == "patch" and answer.status == 201:
                self.requests.append(asked._replace(verb="create"))  # an apply that makes the object takes both rights
            if asked and asked.verb == "get":
                return web.Response(
                    body=self._rewrite(await answer.read()), status=answer.status, content_type=answer.content_type
                )
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            with suppress(ConnectionResetError, aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    def _rewrite(self, body: bytes) -> bytes:
        for old, new in self.rewritten.items():
            body = body.replace(old, new)
        return body


def kubeconfig(path: Path, server: str, token: str) -> Path:
    """Write a kubeconfig that goes to this server with this token."""
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(json.dumps(content))
    return path
