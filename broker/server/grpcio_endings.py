"""How calls end on grpc.aio."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import grpc

from broker.server.door import Ending

# Generic only in the type stubs.
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_STATUS = {code.value[0]: code for code in grpc.StatusCode}


async def abort(context: Context, ending: Ending | None) -> None:
    """End a call with what the service asked for; with OK it ends by itself."""
    if ending is None or ending[1] == 0:
        return
    _, code, message, details, trailers = ending
    metadata: list[tuple[str, str | bytes]] = [*trailers]
    if details:
        metadata.append(("grpc-status-details-bin", details))
    if metadata:
        context.set_trailing_metadata(tuple(metadata))
    with client_may_leave():
        await context.abort(_STATUS[code], message)


@contextmanager
def client_may_leave() -> Iterator[None]:
    """Take a failed write for what it is: the client is gone. Otherwise each would be logged with its traceback."""
    try:
        yield
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
