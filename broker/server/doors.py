"""Which door a broker opens."""

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from broker.server.door import Credentials, DoorServer
from broker.server.headers import asked_for
from broker.server.service import ROUTES
from broker.server.settings import Settings

if TYPE_CHECKING:
    from broker.server.grpcio_door import GrpcioDoor
    from broker.server.native_door import NativeDoor

log = logging.getLogger(__name__)

EXTENSION = "brokercluster_native"
"""What the native door needs; the distribution is brokercluster-native."""
HOW_TO_GET_IT = "install brokercluster[native], or run make where cargo is"


def make_door(settings: Settings, credentials: Credentials | None) -> DoorServer:
    """Return the door that the settings ask for, not yet open.

    Raises:
        OSError: the native door is asked for by name, and its extension cannot be used.
    """
    headers = asked_for(trust_proxy=settings.trust_proxy)
    return _kind(settings.door)(settings.listen, ROUTES, headers, settings.door_limits, credentials)


def _kind(wanted: str) -> "type[NativeDoor | GrpcioDoor]":
    # Imported here: a broker needs the code of one door only.
    if wanted != "grpcio":
        trouble = f"the extension {EXTENSION} is not installed"
        if _installed():
            try:
                from broker.server.native_door import NativeDoor

                return NativeDoor
            except ImportError as error:
                trouble = str(error)
                log.warning("without the native door: %s", trouble)
        if wanted == "native":
            raise OSError(f"--door=native: {trouble}; {HOW_TO_GET_IT}")
    from broker.server.grpcio_door import GrpcioDoor

    return GrpcioDoor


def other_door(door: DoorServer) -> str:
    """Return how to get the other door, for people."""
    if door.name == "native":
        return "--door=grpcio: the portable one"
    return "--door=native: many times faster" + ("" if _installed() else f", {HOW_TO_GET_IT}")


def _installed() -> bool:
    return find_spec(EXTENSION) is not None
