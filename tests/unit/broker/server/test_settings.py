from pathlib import Path

import pytest

from broker.server.options import OPTIONS
from broker.server.settings import parse_settings
from broker.server.tls import Tls


def test_defaults():
    settings = parse_settings([], {})
    assert settings.listen == "0.0.0.0:50051"
    assert settings.store == "sqlite"
    assert settings.limits.max_body == 1 << 20
    assert settings.limits.max_headers == 8 << 10
    assert settings.limits.deduplication_window == 120
    assert settings.door_limits.max_request > 4 << 20
    assert settings.door_limits.max_streams == 4096
    assert settings.door_limits.max_connection_age == 0
    assert settings.tls is None


def test_the_command_line_wins_over_the_environment_and_that_over_defaults():
    environment = {"BROKER_MAX_BODY": "2Ki", "BROKER_LOG_LEVEL": "debug"}
    settings = parse_settings(["--max-body", "1k"], environment)
    assert settings.limits.max_body == 1000
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("listen", "50051"), ("listen", "host:70000"), ("http", ":80"), ("store", "redis"), ("max-body", "1MB"),
        ("max-body", "0"), ("max-body", "-1"), ("max-expiration", "1.5"), ("max-expiration", "3000000000"),
        ("max-queue-messages", "many"), ("drain-timeout", "-1"), ("drain-timeout", "nan"), ("log-level", "loud"),
        ("postgres-pool", "1"), ("deduplication-window", "-1"), ("deduplication-window", "2m"), ("max-headers", "8KB"),
        ("max-connections", "0"), ("max-streams", "3000000000"), ("keepalive-timeout", "0"), ("keepalive-time", "30s"),
        ("max-connection-age", "1000000"),
    ],
)  # fmt: skip
def test_a_wrong_value_ends_with_one_line_that_names_it(flag, value, capsys):
    for arguments, environment in (
        ([f"--{flag}={value}"], {}),
        ([], {"BROKER_" + flag.upper().replace("-", "_"): value}),
    ):
        with pytest.raises(SystemExit) as exited:
            parse_settings(arguments, environment)
        assert exited.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert repr(value) in error
        assert (flag if arguments else flag.upper().replace("-", "_")) in error


def test_unknown_options_and_impossible_combinations(capsys):
    tls = [[f"--tls-{name}-file=a"] for name in ("cert", "key", "client-ca")]
    for arguments in (["--nonsense"], ["--max-body", "128Mi"], *tls):
        with pytest.raises(SystemExit) as exited:
            parse_settings(arguments, {})
        assert exited.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_help_explains_every_option_with_default_and_variable(capsys):
    with pytest.raises(SystemExit) as exited:
        parse_settings(["--help"], {})
    assert exited.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert f"--{option.flag}" in text
        assert f"(default {option.default or 'none'}; {option.variable})" in text


def test_tls_is_three_files():
    assert parse_settings(["--tls-cert-file=c", "--tls-key-file=k"], {}).tls == Tls(Path("c"), Path("k"))
    files = {"BROKER_TLS_CERT_FILE": "c", "BROKER_TLS_KEY_FILE": "k", "BROKER_TLS_CLIENT_CA_FILE": "a"}
    assert parse_settings([], files).tls == Tls(Path("c"), Path("k"), Path("a"))


def test_a_mistyped_dsn_is_refused_without_showing_it(capsys):
    for arguments, environment in (
        (["--postgres-dsn=postgresql://me:sec/ret@host/db"], {}),
        ([], {"BROKER_POSTGRES_DSN": "host=localhost password=secret"}),
    ):
        with pytest.raises(SystemExit) as exited:
            parse_settings(["--store=postgres", *arguments], environment)
        assert exited.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in error
        assert "sec" not in error


def test_postgres_needs_a_dsn_and_keeps_it_to_itself(capsys):
    with pytest.raises(SystemExit):
        parse_settings(["--store=postgres"], {})
    assert "BROKER_POSTGRES_DSN" in capsys.readouterr().err
    settings = parse_settings(["--store=postgres"], {"BROKER_POSTGRES_DSN": "postgresql://me:secret@host/db"})
    assert settings.postgres_dsn == "postgresql://me:secret@host/db"
    assert "secret" not in repr(settings)
