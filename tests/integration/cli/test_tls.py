"""`brokerctl` and a broker that speaks TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokerctl import Brokerctl
from tests.support.tls import Authority, write_files


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    files = write_files(tmp_path_factory.mktemp("tls"), authority.issue("broker"), authority.certificate)
    with BrokerProcess("--store=memory", *files) as process:
        yield process


@pytest.fixture
def directory(authority: Authority, tmp_path: Path) -> Path:
    """Where `brokerctl` runs, with the files of a client."""
    pair = authority.issue("client")
    for name, data in (("ca", authority.certificate), ("cert", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "text").write_text("no PEM")
    return tmp_path


def test_files_of_the_command_line(server: BrokerProcess, directory: Path) -> None:
    brokerctl = Brokerctl(directory)
    tls = [f"--server={server.address}", "--tls-ca=ca", "--tls-cert=cert", "--tls-key=key"]
    assert brokerctl("pub", "s", "hello", "-e", "1h", *tls).stdout == b"1\n"
    assert brokerctl("fetch", "s", "1", *tls).stdout == b"hello\n"
    assert brokerctl("sub", "s", "-s", "earliest", "-n", "1", *tls).stdout == b"hello\n"


def test_files_of_the_environment(server: BrokerProcess, directory: Path) -> None:
    files = {f"BROKERCTL_TLS_{name.upper()}": name for name in ("ca", "cert", "key")}
    assert Brokerctl(directory, {"BROKERCTL_SERVER": server.address, **files})("pub", "t", "x", "-q").returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--tls-cert=cert"], 2, b"--tls-cert and --tls-key go together"),
        (["--tls-ca=missing"], 1, b"cannot read missing: No such file or directory"),
        (["--tls-ca=text"], 1, b"cannot use the authorities in text"),
        (
            ["--tls-ca=ca", "--tls-cert=cert", "--tls-key=ca"],
            1,
            b"cannot use the certificate in cert with the key in ca",
        ),
        (["--tls-ca=ca"], 1, b"--tls-cert"),
        (["--tls-ca=cert"], 1, b"did --tls-ca sign its certificate"),
        ([], 1, b"does it speak TLS (--tls-ca)"),
    ],
)
def test_what_is_wrong(server: BrokerProcess, directory: Path, options: list[str], code: int, says: bytes) -> None:
    done = Brokerctl(directory)("pub", "s", "x", f"--server={server.address}", *options)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count(b"\n") == 1
