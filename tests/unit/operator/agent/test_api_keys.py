"""The program that gives Envoy the API keys of a mounted Secret."""

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_operator.agent import api_keys
from tests.support.mounts import mount

TEMPLATE = {"version_info": "7", "resources": [{"name": "keys", "typed_config": {"deep": [{"credentials": []}]}}]}


class Program:
    """The program as a child process."""

    def __init__(self, directory: Path) -> None:
        self.secret, self.file, self.template = directory / "secret", directory / "made.json", directory / "template"
        self.template.write_text(json.dumps(TEMPLATE))
        self._log = directory / "log"
        command = [sys.executable, "-IS", api_keys.__file__, f"--keys={self.secret}"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--template={self.template}", f"--file={self.file}"], stdout=log, stderr=log
            )

    def clients(self) -> dict[str, str]:
        """What Envoy gets."""
        if not self.file.exists():
            return {}
        [credentials] = json.loads(self.file.read_text())["resources"][0]["typed_config"]["deep"]
        return {one["client"]: one["key"] for one in credentials["credentials"]}

    def log(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    mount(tmp_path / "secret", {"alice": b"a-key\n", "bob": b"b-key"})
    program = Program(tmp_path)
    yield program
    program.process.kill()
    program.process.wait()


def test_follows_the_secret_and_the_template(program: Program) -> None:
    program.until(lambda: program.clients() == {"alice": "a-key", "bob": "b-key"})
    assert stat.S_IMODE(program.file.stat().st_mode) == 0o600
    mount(program.secret, {"alice": b"new-key\r\n", "carol": b"c-key"})
    program.until(lambda: program.clients() == {"alice": "new-key", "carol": "c-key"})
    program.template.write_text(json.dumps({**TEMPLATE, "version_info": "8"}))
    program.until(lambda: json.loads(program.file.read_text())["version_info"] == "8")
    assert "Envoy has the keys of 2 clients" in program.log()
    assert not any(key in program.log() for key in ("a-key", "b-key", "c-key", "new-key"))


def test_a_secret_that_cannot_be_used_changes_nothing(program: Program) -> None:
    program.until(lambda: len(program.clients()) == 2)
    mount(program.secret, {"alice": b"a-key", "mallory": b"a-key", "dave": b"d-key"})
    program.until(lambda: "those before stay in use" in program.log())
    assert "alice and mallory have the same key" in program.log()
    assert program.clients() == {"alice": "a-key", "bob": "b-key"}
    mount(program.secret, {"dave": b"d-key"})
    program.until(lambda: program.clients() == {"dave": "d-key"})
    assert program.log().count("cannot be used") == 1


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    """Envoy would take it for news."""
    file = tmp_path / "made.json"
    assert api_keys.put(file, "a")
    before = file.stat().st_ino
    assert not api_keys.put(file, "a")
    assert file.stat().st_ino == before
    assert api_keys.put(file, "b")
    assert file.read_text() == "b"


def test_waits_for_keys_that_can_be_used(tmp_path: Path) -> None:
    mount(tmp_path / "secret", {"alice": b""})
    program = Program(tmp_path)
    try:
        program.until(lambda: "the key of alice is empty" in program.log())
        assert "Envoy cannot start without" in program.log()
        assert not program.file.exists()
        mount(program.secret, {"alice": b"x"})
        program.until(lambda: program.clients() == {"alice": "x"})
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(timeout=20) == 0
    finally:
        program.process.kill()
        program.process.wait()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"alice": b"\n"}, "the key of alice is empty"),
        ({"alice": b"two words"}, "the key of alice has a space, a control character"),
        ({"alice": b"line\nline"}, "the key of alice has a space, a control character"),
        ({"alice": b"x\x00"}, "a control character"),
        ({"alice": "schlüssel".encode()}, "not ASCII"),
        ({"alice": b"x" * 4097}, "has 4097 bytes: at most 4096"),
        ({"al ice": b"x"}, "'al ice' is no name of a client"),
        ({"alice": b"same\n", "bob": b"same"}, "alice and bob have the same key"),
    ],
)
def test_refuses_the_whole_secret(files: dict[str, bytes], says: str, tmp_path: Path) -> None:
    mount(tmp_path / "secret", {**files, "zoe": b"good-key"})
    with pytest.raises(api_keys.Unusable) as refused:
        api_keys.read_keys(tmp_path / "secret")
    assert says in str(refused.value)
    for secret in ("words", "line\n", "schlüssel", "same\n", "xxx", "good-key"):
        assert secret not in str(refused.value)


def test_a_plain_directory_will_do(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("a\n")
    assert api_keys.read_keys(tmp_path) == {"alice": "a"}


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(api_keys.Unusable, match=r"cannot read .*gone: No such file"):
        api_keys.read_keys(tmp_path / "gone")
