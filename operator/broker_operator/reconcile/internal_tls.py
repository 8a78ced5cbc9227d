"""The Secret of what proxies and brokers prove themselves to each other with: there before the pods that mount it."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from datetime import datetime

from broker_operator.api import BrokerCluster
from broker_operator.kube import SECRET, Kube, Manifest, NotFound
from broker_operator.reconcile.certificates import Material, issued, read, renewed, utc_now
from broker_operator.reconcile.children import NameTakenError, controlled_by

logger = logging.getLogger(__name__)


class InternalTls:
    """Makes the Secret of a cluster, and renews what is in it. What is in it is in no log, event or status.

    Args:
        kube: the API server.
        hosts: the host names that the certificate of a cluster is for.
        now: the time.
    """

    def __init__(
        self, kube: Kube, hosts: Callable[[BrokerCluster], Sequence[str]], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._kube = kube
        self._hosts = hosts
        self._now = now

    async def ensure(self, cluster: BrokerCluster, empty: Manifest) -> None:
        """See to it that the Secret is as it should be now; `empty` is the Secret without what is in it.

        Raises `NameTakenError` when a Secret of this name belongs to somebody else, otherwise what `Kube` raises.
        """
        name, hosts, now = empty["metadata"]["name"], self._hosts(cluster), self._now()
        where = {"object": f"{cluster.namespace}/{cluster.name}"}
        try:
            live = await self._kube.get(SECRET, cluster.namespace, name)
        except NotFound:
            logger.info("making the certificates between proxies and brokers", extra=where)
            await self._write(empty, issued(hosts, now))
            return
        if not controlled_by(live, cluster.uid):
            raise NameTakenError(
                f"Secret {name} exists and does not belong to this BrokerCluster: rename one of the two, "
                "or delete the Secret",
                status=409,
            )
        material = read(_decoded(live), hosts, now)
        if material is None:
            logger.warning("the certificates between proxies and brokers cannot be used: making others", extra=where)
            await self._write(empty, issued(hosts, now))
        elif (wanted := renewed(material, hosts, now)) is not material:
            logger.info("renewing the certificates between proxies and brokers", extra=where)
            await self._write(empty, wanted)

    async def _write(self, empty: Manifest, material: Material) -> None:
        data = {file: b64encode(content).decode() for file, content in material.data().items()}
        await self._kube.apply({**empty, "data": data})


def _decoded(secret: Manifest) -> dict[str, bytes]:
    try:
        return {file: b64decode(text) for file, text in (secret.get("data") or {}).items()}
    except NotBase64:  # the API server takes nothing else
        return {}
