"""Which optional kinds the API server knows right now."""

from __future__ import annotations

import asyncio

from broker_operator.kube import CHILD_KINDS, Kind, Kube


class Available:
    """The optional kinds as last discovered. They come and go with other people's CRDs."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.kinds: frozenset[Kind] = frozenset()

    async def refresh(self) -> bool:
        """Ask the API server; True when the answer changed. Raises `KubeError`."""
        optional = [kind for kind in CHILD_KINDS if kind.optional]
        served = await asyncio.gather(*(self._kube.serves(kind) for kind in optional))
        kinds = frozenset(kind for kind, is_served in zip(optional, served, strict=True) if is_served)
        changed, self.kinds = kinds != self.kinds, kinds
        return changed

    @property
    def names(self) -> frozenset[str]:
        """The same by name, as the renderer takes it."""
        return frozenset(kind.kind for kind in self.kinds)
