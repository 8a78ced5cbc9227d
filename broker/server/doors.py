"""Which door a broker opens."""

import logging
from importlib.util import find_spec

from broker.server.door import Credentials, DoorServer
from broker.server.grpcio_door import GrpcioDoor
from broker.server.service import HEADERS, ROUTES
from broker.server.settings import Settings

log = logging.getLogger(__name__)

EXTENSION = "brokercluster_native"
HOW_TO_GET_IT = "it comes with brokercluster[native], or is built by `make` where cargo is"


def make_door(settings: Settings, credentials: Credentials | None) -> DoorServer:
    """Return the door that the settings ask for, not yet open.

    Raises:
        OSError: the native door is asked for by name, and its extension is not installed.
    """
    installed = find_spec(EXTENSION) is not None
    if settings.door == "native" and not installed:
        raise OSError(f"--door=native: the extension {EXTENSION} is not installed; {HOW_TO_GET_IT}")
    if installed and settings.door != "grpcio":
        from broker.server.native_door import NativeDoor

        return NativeDoor(settings.listen, ROUTES, HEADERS, settings.door_limits, credentials)
    if settings.door == "auto":
        log.info("the native door would be many times faster; %s", HOW_TO_GET_IT)
    return GrpcioDoor(settings.listen, ROUTES, settings.door_limits, credentials)
