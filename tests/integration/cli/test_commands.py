"""`brokerctl pub`, `sub` and `fetch` as a user of a shell meets them."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokerctl import COMMAND, Brokerctl


class TestPub:
    def test_an_argument(self, brokerctl: Brokerctl, subject: str) -> None:
        done = brokerctl("pub", subject, "hello", "--expires", "1h")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
        assert brokerctl("fetch", subject, "1").stdout == b"hello\n"

    def test_a_file(self, brokerctl: Brokerctl, subject: str, tmp_path: Path) -> None:
        body = bytes(range(256)) * 100
        (tmp_path / "body").write_bytes(body)
        assert brokerctl("pub", subject, "-f", "body", "-e", "10m").stdout == b"1\n"
        assert brokerctl("fetch", subject, "1", "-o", "raw").stdout == body

    def test_standard_input_as_one_message(self, brokerctl: Brokerctl, subject: str) -> None:
        assert brokerctl("pub", subject, "-f", "-", "-e", "10m", stdin=b"a\nb\n").stdout == b"1\n"
        assert brokerctl("fetch", subject, "1", "-o", "raw").stdout == b"a\nb\n"

    def test_lines(self, brokerctl: Brokerctl, subject: str) -> None:
        lines = b"".join(b"%d\n" % number for number in range(3000)) + b"no newline at the end"
        done = brokerctl("pub", subject, "-e", "10m", stdin=lines)
        assert done.stdout == b"".join(b"%d\n" % (number + 1) for number in range(3001))
        assert brokerctl("fetch", subject, "3001").stdout == b"no newline at the end\n"

    def test_no_lines(self, brokerctl: Brokerctl, subject: str) -> None:
        done = brokerctl("pub", subject, stdin=b"")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def test_a_line_is_published_when_it_comes(self, brokerctl: Brokerctl, subject: str) -> None:
        with brokerctl.start("pub", subject) as running:
            for number in range(1, 4):
                running.send(b"x\n")
                running.wait_for(lambda number=number: running.stdout.endswith(b"%d\n" % number))

    def test_a_line_that_is_refused_fails_no_other(self, brokerctl: Brokerctl, subject: str) -> None:
        done = brokerctl("pub", subject, stdin=b"a\n" + bytes(2 << 20).replace(b"\0", b"x") + b"\nb\n")
        assert (done.returncode, done.stdout) == (1, b"1\n2\n")
        assert done.stderr.startswith(b"brokerctl: line 2 was not published: ")
        assert b"BODY_TOO_LARGE" in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_quietly(self, brokerctl: Brokerctl, subject: str) -> None:
        assert brokerctl("pub", subject, "x", "--quiet").stdout == b""

    def test_bytes_that_are_no_text(self, brokerctl: Brokerctl, subject: str) -> None:
        assert brokerctl("pub", subject, "\udcff", "-e", "1h").stdout == b"1\n"
        assert json.loads(brokerctl("fetch", subject, "1", "-o", "json").stdout)["body_base64"] == "/w=="

    def test_headers(self, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "x", "-e", "1h", "--header", "kind=new", "-H", "trace=\udcff")
        brokerctl("pub", subject, "-e", "1h", "-H", "from=lines", stdin=b"y\n")
        first = json.loads(brokerctl("fetch", subject, "1", "-o", "json").stdout)
        assert (first["headers"], first["headers_base64"]) == ({"kind": "new"}, {"trace": "/w=="})
        second = json.loads(brokerctl("sub", subject, "-s", "after=1", "-n", "1", "-o", "json").stdout)
        assert (second["body"], second["headers"]) == ("y", {"from": "lines"})

    def test_a_key_is_published_once(self, brokerctl: Brokerctl, subject: str) -> None:
        ids = [brokerctl("pub", subject, "x", "--key", key, "-e", "1h").stdout for key in ("17", "18", "17")]
        assert ids == [b"1\n", b"2\n", b"1\n"]


class TestSub:
    def test_prints_messages_as_they_come(self, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "0", "-e", "1h")
        with brokerctl.start("sub", subject, "--start", "earliest") as running:
            running.wait_for_text("0\n")  # so the subscription stands
            for number in range(1, 4):
                brokerctl("pub", subject, str(number))
                running.wait_for_text(f"{number}\n")
            running.interrupt()
            assert running.wait() == 128 + signal.SIGINT
            assert (running.stdout, running.stderr) == (b"0\n1\n2\n3\n", b"")

    @pytest.mark.parametrize(("start", "ids"), [("earliest", [1, 2, 3]), ("after=1", [2, 3]), ("10m ago", [1, 2, 3])])
    def test_starts_where_it_is_told(self, brokerctl: Brokerctl, subject: str, start: str, ids: list[int]) -> None:
        brokerctl("pub", subject, "-e", "1h", stdin=b"a\nb\nc\n")
        done = brokerctl("sub", subject, "--start", start, "--count", str(len(ids)), "-o", "json")
        assert done.returncode == 0
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids

    def test_json_says_everything(self, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "grüße", "-e", "1h")
        done = brokerctl("sub", subject, "-s", "earliest", "-n", "1", "-o", "json")
        fields = json.loads(done.stdout)
        assert fields.pop("published_at").endswith("Z")
        assert fields == {"subject": subject, "id": 1, "body": "grüße"}

    def test_raw_adds_nothing(self, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "-e", "1h", stdin=b"a\nb\n")
        assert brokerctl("sub", subject, "-s", "earliest", "-n", "2", "-o", "raw").stdout == b"ab"

    def test_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        with BrokerProcess("--store=sqlite", f"--sqlite-path={tmp_path / 'b.db'}") as server:
            brokerctl = Brokerctl(tmp_path, {"BROKERCTL_SERVER": server.address})
            brokerctl("pub", "s", "1", "-e", "1h")
            with brokerctl.start("sub", "s", "-s", "earliest") as running:
                running.wait_for_text("1\n")
                server.restart()
                brokerctl("pub", "s", "2", "-e", "1h")
                running.wait_for(lambda: running.stdout == b"1\n2\n")
                assert b"connected again" in running.stderr


class TestFailure:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "arguments are required: COMMAND"),
            (["nonsense"], "invalid choice: 'nonsense'"),
            (["pub"], "arguments are required: SUBJECT"),
            (["pub", "s", "x", "-e", "soon"], "'soon' is not a duration"),
            (["pub", "s", "x", "-f", "y"], "give either BODY or --file, not both"),
            (["pub", "s", "--key", "17"], "--key names one message"),
            (["pub", "s", "x", "-H", "kind"], "'kind' is not a header"),
            (["sub", "s", "-s", "yesterday"], "'yesterday' is not a start"),
            (["sub", "s", "-n", "0"], "'0' is not a whole number above 0"),
            (["fetch", "s", "first"], "'first' is not a whole number above 0"),
            (["fetch", "s", "1", "--timeout", "0"], "a timeout must be above 0"),
        ],
    )
    def test_a_wrong_call_is_2(self, brokerctl: Brokerctl, arguments: list[str], message: str) -> None:
        done = brokerctl(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["fetch", "never", "7"], "MESSAGE_NOT_FOUND"),
            (["pub", "", "x"], "SUBJECT_INVALID"),
            (["pub", "s", "x", "-e", "365d"], "EXPIRATION_TOO_LONG"),
            (["sub", "s", "-s", "after=99"], "START_BEYOND_END"),
            (["pub", "s", "-f", "no/such/file"], "cannot read no/such/file"),
        ],
    )
    def test_an_error_is_one_line_and_1(self, brokerctl: Brokerctl, arguments: list[str], reason: str) -> None:
        done = brokerctl(*arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"brokerctl: ")
        assert reason in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1

    @pytest.mark.parametrize("arguments", [["pub", "s", "x"], ["sub", "s"], ["fetch", "s", "1"]])
    def test_nobody_there(self, brokerctl: Brokerctl, arguments: list[str]) -> None:
        done = brokerctl(*arguments, "--server", "127.0.0.1:1")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"cannot reach a broker at 127.0.0.1:1" in done.stderr
        assert b"--server" in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_a_reader_that_leaves_is_no_error(self, server: BrokerProcess, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "-e", "1h", stdin=b"first\nsecond\n" * 1000)
        pipe = f"{' '.join(COMMAND)} sub {subject} -s earliest --server {server.address} | head -1"
        done = subprocess.run(["bash", "-c", f"{pipe}; echo ${{PIPESTATUS[0]}}"], capture_output=True, timeout=60)
        assert (done.stdout, done.stderr) == (b"first\n141\n", b"")

    def test_output_that_cannot_be_written(self, server: BrokerProcess, brokerctl: Brokerctl, subject: str) -> None:
        brokerctl("pub", subject, "x", "-e", "1h")
        with Path("/dev/full").open("wb") as full:
            fetch = [*COMMAND, "fetch", subject, "1", "--server", server.address]
            done = subprocess.run(fetch, stdout=full, stderr=subprocess.PIPE, timeout=60)
        message = b"brokerctl: cannot write to standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, message)

    @pytest.mark.parametrize(("closed", "stream"), [("<&-", "input"), (">&-", "output")])
    def test_a_closed_stream(self, server: BrokerProcess, closed: str, stream: str) -> None:
        command = f"{' '.join(COMMAND)} pub closed --server {server.address} {closed}"
        lines = b"x\n" if stream == "output" else None
        done = subprocess.run(["bash", "-c", command], input=lines, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 1
        assert f"standard {stream} is closed" in done.stderr.decode()

    def test_ctrl_c_while_lines_are_awaited(self, brokerctl: Brokerctl, subject: str) -> None:
        with brokerctl.start("pub", subject) as running:
            running.send(b"x\n")
            running.wait_for_text("1\n")
            running.interrupt()
            assert (running.wait(), running.stderr) == (128 + signal.SIGINT, b"")


class TestHelp:
    @pytest.mark.parametrize("command", ["", "pub", "sub", "fetch", "up"])
    def test_has_examples(self, brokerctl: Brokerctl, command: str) -> None:
        done = brokerctl(*command.split(), "--help")
        assert done.returncode == 0
        assert b"examples:\n  brokerctl" in done.stdout or b"examples:\n  tail" in done.stdout

    def test_version(self, brokerctl: Brokerctl) -> None:
        assert brokerctl("--version").stdout.startswith(b"brokerctl 0.")

    def test_loads_no_grpc(self) -> None:
        program = (
            "import sys; from broker.cli import main, arguments; arguments.parser('1'); print('grpc' in sys.modules)"
        )
        assert subprocess.check_output([COMMAND[0], "-c", program]) == b"False\n"
