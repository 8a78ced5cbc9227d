from ssl import PEM_cert_to_DER_cert, cert_time_to_seconds
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.server.certificates import certificates, first_expiry
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.mark.parametrize("days", ["1", "3650", "20000"], ids=["tomorrow", "in ten years", "after 2049"])
def test_the_end_of_a_certificate_is_what_openssl_says(authority: Authority, days: str) -> None:
    pem = authority.issue("broker", "-days", days).certificate
    said = run(["openssl", "x509", "-noout", "-enddate"], input=pem, capture_output=True, check=True).stdout.decode()
    assert first_expiry(certificates(pem)) == cert_time_to_seconds(said.strip().removeprefix("notAfter="))


def test_the_first_of_a_chain_to_end_counts(authority: Authority) -> None:
    short, long = (authority.issue("broker", "-days", days).certificate for days in ("1", "9"))
    chain = certificates(b"a word before\n" + long + b"between\n" + short)
    assert chain == [PEM_cert_to_DER_cert(pem.decode()) for pem in (long, short)]
    assert first_expiry(chain) == first_expiry(certificates(short))


@pytest.mark.parametrize("pem", [b"", b"\xff", b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PRIVATE KEY-----"])
def test_files_without_certificates(pem: bytes) -> None:
    with pytest.raises(ValueError, match="no certificate in PEM"):
        certificates(pem)


@given(st.data())
def test_damaged_certificates_raise_one_kind_of_error(authority: Authority, data: st.DataObject) -> None:
    certificate = bytearray(PEM_cert_to_DER_cert(authority.certificate.decode()))
    for _ in range(data.draw(st.integers(1, 3))):
        certificate[data.draw(st.integers(0, len(certificate) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(certificate[: data.draw(st.integers(0, len(certificate)))])
    try:
        first_expiry([damaged])
    except ValueError as error:
        assert str(error) == "what it has between BEGIN and END CERTIFICATE is no certificate"
