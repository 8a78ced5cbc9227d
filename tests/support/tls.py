"""Certificates, and TLS in front of a PostgreSQL that has none."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Return certificate and key of a new authority of one, for a host name."""
    return _certificate(directory / f"{name}.crt", name, f"subjectAltName=DNS:{name}")


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates.

    Attributes:
        certificate: its own, in PEM.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._files = make_certificate(directory, name)
        self.certificate = self._files[0].read_bytes()

    def issue(self, name: str, *options: str) -> Pair:
        """Return a certificate for the host "localhost" and the address 127.0.0.1, with a new key.

        Args:
            name: of whoever shows it.
            options: more of `openssl req`.
        """
        return self.issue_to(name, "DNS:localhost,IP:127.0.0.1", *options)

    def issue_to(self, name: str, names: str, *options: str) -> Pair:
        """Return a certificate with these subject alternative names, as openssl writes them, with a new key."""
        certificate, key = self._files
        signed = _certificate(
            self._directory / f"{uuid4().hex}.crt",
            name,
            f"subjectAltName={names}",
            *("-CA", str(certificate), "-CAkey", str(key), "-addext", "basicConstraints=critical,CA:FALSE", *options),
        )
        return Pair(signed[0].read_bytes(), signed[1].read_bytes())


def _certificate(file: Path, name: str, extension: str, *options: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes certificates, is not on this machine")
    key = file.with_suffix(".key")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", extension, *options, "-keyout", key, "-out", file),
        ],
        check=True,
        capture_output=True,
    )
    return file, key


def write_files(directory: Path, pair: Pair, client_ca: bytes | None = None) -> list[str]:
    """Put a broker's files there in the way of Kubernetes, which changes a link to a directory; returns its options."""
    version = directory / f"..{len(list(directory.iterdir()))}"
    version.mkdir()
    for name, data in (("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", client_ca or b"")):
        (version / name).write_bytes(data)
    (directory / "new").symlink_to(version.name)
    (directory / "new").rename(directory / "data")
    options = [f"--tls-cert-file={directory}/data/tls.crt", f"--tls-key-file={directory}/data/tls.key"]
    return [*options, f"--tls-client-ca-file={directory}/data/ca.crt"] if client_ca else options


@asynccontextmanager
async def tls_front(target: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Take connections that ask for TLS as PostgreSQL's clients do, and pass what is inside on; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    pumps: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(8)  # SSLRequest
            writer.write(b"S")
            await writer.start_tls(context)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target)
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            pumps.add(asyncio.create_task(pump(source, sink)))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in pumps:
        task.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
