"""`brokerctl up` with TLS and API keys: directories stand for Secrets."""

from pathlib import Path

import pytest
import yaml

from tests.support.brokerctl import Brokerctl
from tests.support.clusters import manifest
from tests.support.tls import Authority

SPEC = {
    "storage": {"type": "Memory"},
    "proxy": {
        "tls": {"secretName": "orders-tls", "clientCASecretName": "clients", "clientCertificates": "Optional"},
        "authentication": {"apiKeys": {"secretName": "keys", "header": "x-orders-key"}},
    },
}


@pytest.fixture
def brokerctl(tmp_path: Path) -> Brokerctl:
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(manifest(SPEC)))
    return Brokerctl(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = Authority(tmp_path, "ours")
    pair = authority.issue("proxy")
    entries = {
        "orders-tls/tls.crt": pair.certificate,
        "orders-tls/tls.key": pair.key,
        "clients/ca.crt": authority.certificate,
        "keys/alice": b"open-sesame\n",
    }
    for name, data in entries.items():
        (tmp_path / "secrets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "secrets" / name).write_bytes(data)
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    return tmp_path


def test_clients_need_what_the_spec_says(brokerctl: Brokerctl, files: Path) -> None:
    with brokerctl.start("up", "-f", "cluster.yaml", "--secrets", "secrets", "--listen", "127.0.0.1:0") as running:
        running.wait_for(lambda: "Ctrl-C stops" in running.output() or running.process.poll() is not None)
        address = running.output().partition("is ready at ")[2].split()[0]
        server = (f"--server={address}", "--tls-ca=ca.crt")
        nobody = brokerctl("pub", "greetings", "hello", *server)
        assert (nobody.returncode, nobody.stdout) == (1, b"")
        assert b"say who you are with --token-file or --api-key-file" in nobody.stderr
        (files / "key").write_text("open-sesame\n")
        alice = (*server, "--api-key-file=key", "--api-key-header=X-Orders-Key")
        assert brokerctl("pub", "greetings", "hello", "-e", "1h", *alice).stdout == b"1\n"
        assert brokerctl("sub", "greetings", "-s", "earliest", "-n", "1", *alice).stdout == b"hello\n"
        assert brokerctl("fetch", "greetings", "1", *alice).stdout == b"hello\n"
        assert "open-sesame" not in running.output()


def test_without_secrets_it_says_what_to_do(brokerctl: Brokerctl) -> None:
    done = brokerctl("up", "-f", "cluster.yaml")
    assert done.returncode == 1
    assert b"needs the Secrets clients, keys, orders-tls: give --secrets DIR" in done.stderr


def test_a_missing_entry_is_named(brokerctl: Brokerctl, files: Path) -> None:
    (files / "secrets/orders-tls/tls.key").unlink()
    done = brokerctl("up", "-f", "cluster.yaml", "--secrets", "secrets")
    assert done.returncode == 1
    assert b"secrets/orders-tls/tls.key is missing" in done.stderr
