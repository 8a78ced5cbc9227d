"""What proxies and brokers of one cluster prove themselves to each other with: made, and renewed in time.

One certificate for all of them, signed by an authority of its own whose key is thrown away at once: nobody can sign
another. So each renewal makes a new authority too. Pods see a changed Secret at different times, hence three steps: the
new authority is trusted, then its certificate is used, then the old authority is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=90)
RENEW_AFTER = LIFE * 2 / 3
SPREAD = timedelta(hours=1)
"""Between the steps of a renewal: much longer than the kubelet takes to update the files in a pod."""
SKEW = timedelta(minutes=5)
"""By how much clocks may differ."""

CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Material:
    """What a cluster's Secret has in it."""

    authorities: tuple[x509.Certificate, ...]
    """The newest first."""
    used: Pair
    following: Pair | None = None
    """To be used once its authority is trusted everywhere."""

    def data(self) -> dict[str, bytes]:
        """The files, by name."""
        files = {CA: b"".join(one.public_bytes(Encoding.PEM) for one in self.authorities)}
        files |= {CERTIFICATE: self.used.certificate.public_bytes(Encoding.PEM), KEY: _pem(self.used.key)}
        if self.following is not None:
            files[NEXT_CERTIFICATE] = self.following.certificate.public_bytes(Encoding.PEM)
            files[NEXT_KEY] = _pem(self.following.key)
        return files


def issued(hosts: Sequence[str], now: datetime) -> Material:
    """Make an authority and a certificate for these host names."""
    authority, pair = _signed(hosts, now)
    return Material((authority,), pair)


def read(data: Mapping[str, bytes], hosts: Sequence[str], now: datetime) -> Material | None:
    """What a Secret has in it; None when it is not what these hosts need now."""
    try:
        authorities = tuple(x509.load_pem_x509_certificates(data[CA]))
        used = _pair(data[CERTIFICATE], data[KEY])
        following = _pair(data[NEXT_CERTIFICATE], data[NEXT_KEY]) if NEXT_CERTIFICATE in data else None
    except (KeyError, ValueError, TypeError):
        return None
    for pair in (used, following) if following else (used,):
        if not _is_good(pair, authorities, hosts, now):
            return None
    return Material(authorities, used, following)


def renewed(material: Material, hosts: Sequence[str], now: datetime) -> Material:
    """Take the step of the renewal whose time has come; the same material when there is none."""
    used, following = material.used, material.following
    if following is not None:
        if now >= following.certificate.not_valid_before_utc + SPREAD:
            return replace(material, used=following, following=None)
    elif now >= used.certificate.not_valid_before_utc + RENEW_AFTER:
        authority, pair = _signed(hosts, now)
        return Material((authority, *_signers(material)), used, pair)
    elif len(material.authorities) > 1 and now >= used.certificate.not_valid_before_utc + 2 * SPREAD:
        return replace(material, authorities=_signers(material))
    return material


def _signers(material: Material) -> tuple[x509.Certificate, ...]:
    return tuple(one for one in material.authorities if _signed_by(material.used.certificate, one))


def _signed(hosts: Sequence[str], now: datetime) -> tuple[x509.Certificate, Pair]:
    """A new authority, and the one certificate that it ever signs."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # Not two of one name: who looks for the signer of a certificate goes by names first.
    issuer = _name(f"brokercluster authority {serial:x}"[:64])
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(issuer, issuer, authority_key, serial, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name("brokercluster"), issuer, key, x509.random_serial_number(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return authority, Pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(serial).not_valid_before(now - SKEW).not_valid_after(now + LIFE)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: bytes, key: bytes) -> Pair:
    loaded = load_pem_private_key(key, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is of another kind than ours")
    return Pair(x509.load_pem_x509_certificate(certificate), loaded)


def _is_good(pair: Pair, authorities: Sequence[x509.Certificate], hosts: Sequence[str], now: datetime) -> bool:
    certificate = pair.certificate
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return (
        _bytes(certificate.public_key()) == _bytes(pair.key.public_key())
        and names.get_values_for_type(x509.DNSName) == list(hosts)
        and certificate.not_valid_before_utc <= now + SKEW
        and now < certificate.not_valid_after_utc
        and any(_signed_by(certificate, authority) for authority in authorities)
    )


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _bytes(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def utc_now() -> datetime:
    """The time, as certificates have it."""
    return datetime.now(UTC)
