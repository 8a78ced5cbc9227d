"""The files that make a door speak TLS: read, checked, and followed when they change."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.server.certificates import certificates, first_expiry
from broker.server.door import Credentials
from broker.server.followed import follow, stamp
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """Where certificate and key are, in PEM."""

    cert_file: Path
    """The certificate, and those between it and its authority."""
    key_file: Path
    client_ca_file: Path | None = None
    """The authorities of clients' certificates; with them, clients without one are refused. None: anybody is served."""

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.cert_file, self.key_file, self.client_ca_file) if path]


class TlsFiles:
    """Reads the files, and hands over what they have become for as long as it is followed.

    Raises:
        OSError: they cannot be used; the message says which of them, and why.
    """

    def __init__(self, tls: Tls, metrics: Metrics) -> None:
        self._tls = tls
        self._metrics = metrics
        self._seen = stamp(tls.files)
        self.credentials = read_credentials(tls)
        self._towards_proxies = _towards_proxies(tls)
        self._show_expiry()

    def towards_proxies(self) -> ssl.SSLContext | None:
        """Return what connections to proxies speak TLS by, where both sides must show a certificate: the same files."""
        return self._towards_proxies

    async def follow(self, use: Callable[[Credentials], None]) -> None:
        """Hand over what the files have become, each time they change, until cancelled.

        What cannot be used is logged and counted once, and what was used before stays in use.
        """
        await follow(self._tls.files, self._seen, lambda: self._reload(use))

    async def _reload(self, use: Callable[[Credentials], None]) -> None:
        try:
            credentials = await asyncio.to_thread(read_credentials, self._tls)
            towards_proxies = await asyncio.to_thread(_towards_proxies, self._tls)
            use(credentials)
        except (OSError, ValueError) as error:
            self._metrics.tls_reloads.labels("failed").inc()
            log.error("the new TLS files cannot be used, so the ones before them stay in use: %s", error)
        else:
            self.credentials = credentials
            self._towards_proxies = towards_proxies
            self._metrics.tls_reloads.labels("ok").inc()
            self._show_expiry()
            log.info("new connections use the new certificate in %s", self._tls.cert_file)

    def _show_expiry(self) -> None:
        expiry = self._metrics.tls_expiry
        expiry.labels("server").set(first_expiry(certificates(self.credentials.certificate)))
        if self.credentials.client_ca is not None:
            expiry.labels("client_ca").set(first_expiry(certificates(self.credentials.client_ca)))


def read_credentials(tls: Tls) -> Credentials:
    """Read the files and check that a server can use them.

    Raises:
        OSError: it cannot; the message says which of them is wrong, and how.
    """
    certificate = _chain(tls.cert_file, "--tls-cert-file")
    key = _read(tls.key_file, "--tls-key-file")
    if b"PRIVATE KEY-----" not in key:
        raise OSError(f"--tls-key-file {tls.key_file}: it has no private key in PEM (-----BEGIN PRIVATE KEY-----)")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
    except _PassphraseNeededError:
        message = f"--tls-key-file {tls.key_file}: it is encrypted, and there is nobody to ask for the passphrase"
        raise OSError(message) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            whose = f"not the key of the first certificate in --tls-cert-file {tls.cert_file}"
            raise OSError(f"--tls-key-file {tls.key_file}: it is {whose}") from None
        raise OSError(f"--tls-cert-file {tls.cert_file}, --tls-key-file {tls.key_file}: {_reason(error)}") from None
    client_ca = _chain(tls.client_ca_file, "--tls-client-ca-file") if tls.client_ca_file else None
    return Credentials(certificate, key, client_ca)


def _towards_proxies(tls: Tls) -> ssl.SSLContext | None:
    if tls.client_ca_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # They are asked by their addresses, which no certificate has. That ours have signed it says enough.
    context.check_hostname = False
    context.load_verify_locations(tls.client_ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
    return context


def _chain(path: Path, option: str) -> bytes:
    """Read a file with certificates."""
    pem = _read(path, option)
    try:
        chain = certificates(pem)
        first_expiry(chain)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=b"".join(chain))
    except ssl.SSLError as error:
        raise OSError(f"{option} {path}: {_reason(error)}") from None
    except ValueError as error:
        raise OSError(f"{option} {path}: {error}") from None
    return pem


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"{option} {path}: it cannot be read: {error.strerror or error}") from None


class _PassphraseNeededError(Exception):
    pass


def _no_passphrase() -> str:
    # Without this, OpenSSL would ask the terminal.
    raise _PassphraseNeededError


def _reason(error: ssl.SSLError) -> str:
    return f"OpenSSL cannot use it: {(error.reason or str(error)).replace('_', ' ').lower()}"
