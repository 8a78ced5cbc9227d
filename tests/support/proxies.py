"""A pod that says what a proxy would, for an operator that runs outside of the cluster and reaches no pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from broker_operator.kube import POD
from broker_operator.render import HTTP_PORT
from tests.support.scratch import Scratch

ADDRESS = "127.0.0.77"
STATS = {"listener_manager.lds.version_text": "old", "listener_manager.lds.update_rejected": 1}


@asynccontextmanager
async def refusing_proxy(place: Scratch, cluster: str) -> AsyncIterator[str]:
    """A proxy of this cluster that refuses its configuration; yields the name of its pod, which no node runs."""
    app = web.Application()
    app.router.add_get("/config", _config)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, HTTP_PORT).start()
    name = f"{cluster}-proxy-refusing"
    labels = {
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": "proxy",
        "app.kubernetes.io/managed-by": "broker-operator",
    }
    container = {"name": "envoy", "image": "broker.invalid/proxy:1"}
    try:
        pod = await place.kube.create(
            POD,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": place.namespace, "labels": labels},
                "spec": {"schedulerName": "nobody", "containers": [container]},
            },
        )
        path = POD.path(place.namespace, name, "status")
        status = {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
        merge = "application/merge-patch+json"
        await place.kube.request("PATCH", path, body={"status": status}, content_type=merge)
        yield name
        await place.kube.delete(POD, pod)
    finally:
        await runner.cleanup()


async def _config(_: web.Request) -> web.Response:
    return web.json_response({"stats": [{"name": name, "value": value} for name, value in STATS.items()]})
