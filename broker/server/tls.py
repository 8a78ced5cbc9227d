"""The files that make a door speak TLS."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """Where certificate and key are, in PEM."""

    cert_file: Path
    """The certificate, and those between it and its authority."""
    key_file: Path
    client_ca_file: Path | None = None
    """The authorities of clients' certificates; with them, clients without one are refused. None: anybody is served."""
