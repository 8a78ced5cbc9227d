"""Loopback ports: which are free, and whether one may be listened on."""

import errno
import socket

from broker.cli.failure import Failure

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def claim(host: str, port: int) -> tuple[str, int]:
    """Return the address and port (0: a free one) to listen on, tried out.

    Envoy would share a port with another program that allows it, without a word; so this is looked at before.

    Raises:
        Failure: it cannot be listened on; says why and what to do.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        msg = f"cannot listen on {where}: {host} has no address ({error.strerror})"
        raise Failure(msg) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise Failure(f"cannot listen on {where}: {_reason(error)}") from None
        name = probe.getsockname()
        return name[0], name[1]


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop what listens there, or choose another port with --listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; choose another with --listen"
    if error.errno == errno.EACCES:
        return "not permitted; choose a port above 1023 with --listen"
    return error.strerror or str(error)
