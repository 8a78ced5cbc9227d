"""TLS of pub, sub and fetch: from files of the command line to the client's credentials."""

import argparse
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from broker.cli.failure import Failure


def credentials(arguments: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """Return what the command line asks for; None for plain text.

    Raises:
        Failure: files are missing, or are not what they should be.
    """
    ca, cert, key = arguments.tls_ca, arguments.tls_cert, arguments.tls_key
    if bool(cert) != bool(key):
        msg = "--tls-cert and --tls-key go together: give both to show a certificate, or none"
        raise Failure(msg, exit_code=2)
    if not (ca or cert):
        return None
    roots = _read(ca) if ca else None
    chain, private_key = (_read(cert), _read(key)) if cert else (None, None)
    # Looked at here, because gRPC would say no more than that it cannot connect.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        with _said_of(f"authorities in {ca}"):
            context.load_verify_locations(ca)
    if cert:
        with _said_of(f"certificate in {cert} with the key in {key}"):
            context.load_cert_chain(cert, key, password="")
    return grpc.ssl_channel_credentials(roots, private_key, chain)


@contextmanager
def _said_of(files: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        msg = f"cannot use the {files}: {(error.reason or str(error)).replace('_', ' ').lower()}"
        raise Failure(msg) from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
        raise Failure(msg) from None
