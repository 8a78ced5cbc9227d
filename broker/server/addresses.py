"""Addresses to listen on: HOST:PORT."""

import errno
import socket


def check_free(address: str, purpose: str = "gRPC") -> None:
    """Find out whether HOST:PORT can be listened on, before gRPC does: gRPC says only that it failed, and prints lines
    of its own.

    Raises:
        OSError: it cannot; the message says why.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        errors = [error for family, *_, where in found if (error := _try(family, where)) is not None]
        # A name may have addresses of a kind that this machine has not; one that is taken is an error all the same.
        taken = [error for error in errors if error.errno in (errno.EADDRINUSE, errno.EACCES)]
        if taken or len(errors) == len(found):
            raise (taken or errors)[0]
    except OSError as error:
        raise OSError(f"cannot listen on {address} for {purpose}: {error.strerror or error}") from None


def with_port(address: str, port: int) -> str:
    """Return the address with the port that the system has given for it."""
    return f"{address.rpartition(':')[0]}:{port}"


def _try(family: int, where: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None
