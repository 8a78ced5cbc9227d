"""Certificates between proxies and brokers: good for their hosts, and renewed so that old and new files go together."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from broker_operator.reconcile.certificates import LIFE, SPREAD, Material, issued, read, renewed

HOSTS = ["orders-broker-headless.shop.svc", "*.orders-broker-headless.shop.svc"]
START = datetime(2026, 1, 1, tzinfo=UTC)
KUBELET = timedelta(minutes=10)
"""A pod sees a changed Secret within so long, at the latest."""


def trusts(one: Material, other: Material, now: datetime) -> bool:
    """Whether who has the one set of files takes the certificate in the other."""
    builder = PolicyBuilder().store(Store(list(one.authorities))).time(now)
    certificate = other.used.certificate
    try:
        builder.build_server_verifier(x509.DNSName(HOSTS[0])).verify(certificate, [])
        builder.build_client_verifier().verify(certificate, [])
    except VerificationError:
        return False
    return True


def test_who_has_the_files_of_another_cluster_is_not_trusted() -> None:
    ours, theirs = issued(HOSTS, START), issued(HOSTS, START)
    assert trusts(ours, ours, START)
    assert not trusts(ours, theirs, START)


def test_files_of_every_age_that_pods_may_have_together_trust_each_other() -> None:
    """For two years, an operator that looks every few minutes."""
    material, now, history = issued(HOSTS, START), START, []
    while now < START + timedelta(days=730):
        material = renewed(read(material.data(), HOSTS, now) or pytest.fail("not read"), HOSTS, now)
        history.append((now, material))
        now += timedelta(minutes=7) if near_a_step(material, now) else timedelta(hours=6)
    steps = [pair for pair in pairwise(history) if pair[0][1].data() != pair[1][1].data()]
    assert len(steps) > 3 * 10
    for (_, before), (at, after) in steps:
        for one, other in ((before, after), (after, before), (after, after)):
            assert trusts(one, other, at)
            assert trusts(one, other, at + KUBELET)
    signers = {material.used.certificate.issuer for _, material in history}
    assert len(signers) > 10
    assert all(len(material.authorities) <= 2 for _, material in history)


def near_a_step(material: Material, now: datetime) -> bool:
    age = now - material.used.certificate.not_valid_before_utc
    return material.following is not None or age < 3 * SPREAD


def test_renewed_while_a_third_of_its_life_is_left() -> None:
    material = issued(HOSTS, START)
    assert renewed(material, HOSTS, START + LIFE * 0.66) is material
    following = renewed(material, HOSTS, START + LIFE * 0.67)
    assert following.used == material.used
    assert following.following is not None
    soon = START + LIFE * 0.67 + timedelta(minutes=30)
    assert renewed(following, HOSTS, soon) is following, "not before its authority is everywhere"
    assert renewed(following, HOSTS, soon + SPREAD).used == following.following


@pytest.mark.parametrize("damage", ["none", "gone", "text", "key", "ca", "hosts", "expired", "future", "next"])
def test_what_cannot_be_used_is_noticed(damage: str) -> None:
    now = START + timedelta(days=1)
    material, other = issued(HOSTS, START), issued(HOSTS, START)
    data, hosts = material.data(), HOSTS
    match damage:
        case "gone":
            del data["tls.key"]
        case "text":
            data["tls.crt"] = b"certificate"
        case "key":
            data["tls.key"] = other.data()["tls.key"]
        case "ca":
            data["ca.crt"] = other.data()["ca.crt"]
        case "hosts":
            hosts = ["another.shop.svc"]
        case "expired":
            now = START + LIFE
        case "future":
            now = START - timedelta(days=1)
        case "next":
            data |= {"next.crt": other.data()["tls.crt"], "next.key": other.data()["tls.key"]}
    found = read(data, hosts, now)
    assert (found is not None) == (damage == "none")


def test_the_authoritys_key_is_nowhere(tmp_path: Path) -> None:
    material = renewed(issued(HOSTS, START), HOSTS, START + LIFE * 0.7)
    data = material.data()
    assert set(data) == {"ca.crt", "tls.crt", "tls.key", "next.crt", "next.key"}
    assert b"PRIVATE" not in data["ca.crt"] + data["tls.crt"] + data["next.crt"]
    assert material.following is not None
    keys = [material.used.key.public_key(), material.following.key.public_key()]
    assert not any(authority.public_key() in keys for authority in material.authorities)
    for name in ("tls", "next"):
        (tmp_path / "crt").write_bytes(data[f"{name}.crt"])
        (tmp_path / "key").write_bytes(data[f"{name}.key"])
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "crt", tmp_path / "key")


def test_who_is_trusted_is_written_newest_first() -> None:
    material = renewed(issued(HOSTS, START), HOSTS, START + LIFE * 0.7)
    first, second = x509.load_pem_x509_certificates(material.data()["ca.crt"])
    assert first.not_valid_before_utc > second.not_valid_before_utc
    assert first.public_bytes(Encoding.DER) != second.public_bytes(Encoding.DER)
