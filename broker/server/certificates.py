"""What is read out of PEM files: which certificates they have, and when the first of these ends."""

import re
import ssl
from datetime import UTC, datetime

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def certificates(pem: bytes) -> list[bytes]:
    """Return the certificates of a PEM file, in DER.

    Raises:
        ValueError: it has none, or what stands between the lines is not base64.
    """
    blocks = _CERTIFICATE.findall(pem.decode("latin-1"))
    if not blocks:
        raise ValueError("it has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]


def first_expiry(chain: list[bytes]) -> float:
    """Return the time, in Unix seconds, at which the first of these certificates ends.

    Raises:
        ValueError: one of them is not a certificate.
    """
    return min(map(_not_after, chain))


def _not_after(certificate: bytes) -> float:
    """Find the end of `validity` (RFC 5280): Python shows it of a peer's certificate, never of a file's."""
    try:
        _, fields, _ = _element(_element(certificate)[1])
        tag, _, rest = _element(fields)
        if tag == _VERSION:
            _, _, rest = _element(rest)  # the serial number
        for _ in ("signature", "issuer"):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest, _SEQUENCE)
        _, _, rest = _element(validity)
        tag, text, _ = _element(rest)
        # Years of two digits are 1950 to 2049.
        century = "" if tag == _GENERALIZED_TIME else "19" if text[:1] >= b"5" else "20"
        if tag not in (_UTC_TIME, _GENERALIZED_TIME):
            raise ValueError
        return datetime.strptime(century + text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError):
        raise ValueError("what it has between BEGIN and END CERTIFICATE is no certificate") from None


def _element(data: bytes, expected: int | None = None) -> tuple[int, bytes, bytes]:
    """Take one element of DER: its tag, its content, and what follows."""
    tag, size, start = data[0], data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size or expected not in (None, tag):
        raise ValueError
    return tag, data[start : start + size], data[start + size :]
