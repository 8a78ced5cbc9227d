"""How one broker process runs, from its command line and environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from broker.engine.rules import Limits
from broker.server.door import DoorLimits
from broker.server.options import OPTIONS
from broker.server.tls import Tls

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """How one broker process runs. Sizes in bytes, times in seconds."""

    listen: str
    http: str
    door: str
    store: str
    sqlite_path: str
    sqlite_limit: int
    postgres_dsn: str = field(repr=False)
    postgres_dsn_file: str
    postgres_password_file: str
    postgres_pool: int
    memory_limit: int
    store_wait: float
    peers: str
    peer_listen: str
    drain_timeout: float
    log_format: str
    log_level: str
    limits: Limits
    door_limits: DoorLimits
    tls: Tls | None
    """None: plain text."""
    trust_proxy: bool
    """Whether the headers x-broker-* come from a proxy of ours."""
    authorization_file: Path | None
    """The rules of who may do what; None: everybody may do everything."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line that says what is wrong."""
        self.exit(2, f"{self.prog}: {message}; --help lists all options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m broker",
        description="Serve the broker over gRPC until SIGTERM, which drains it.",
        epilog="Each option can be given in the environment instead, as BROKER_ and its name: BROKER_MAX_BODY=4Mi. "
        "The command line wins. Sizes take Ki, Mi, Gi, k, M and G.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        parser.add_argument(
            f"--{option.flag}",
            metavar=option.flag.rpartition("-")[2].upper(),
            help=f"{option.text} (default {option.default or 'none'}; {option.variable})",
        )
    return parser


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the options from the command line, then from the environment, then take their defaults.

    Raises:
        SystemExit: with status 2 after one line on standard error that says which value is wrong and why; with
            status 0 after --help.
    """
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    values: dict[str, object] = {}
    for option in OPTIONS:
        source = f"--{option.flag}"
        text = given[option.key]
        if text is None and option.variable in environment:
            source, text = option.variable, environment[option.variable]
        try:
            values[option.key] = option.parse(option.default if text is None else text)
        except ValueError as error:
            parser.error(f"{source}: {error}")
    chosen = _Values(values)
    if impossible := _impossible(chosen):
        parser.error(impossible)
    return _settings(chosen)


class _Values:
    """The values of all options, by what they are."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        return str(self._values[key])

    def number(self, key: str) -> int:
        value = self._values[key]
        assert isinstance(value, int)
        return value

    def seconds(self, key: str) -> float:
        value = self._values[key]
        assert isinstance(value, float)
        return value


def _impossible(values: _Values) -> str:
    """Return what is wrong with values that are right one by one, or an empty string."""
    text, number = values.text, values.number
    if number("max_body") > number("max_queue_bytes"):
        return "--max-body is larger than --max-queue-bytes: such a message could never be published"
    if text("store") == "postgres":
        if not (text("postgres_dsn") or text("postgres_dsn_file")):
            names = "BROKER_POSTGRES_DSN, --postgres-dsn or --postgres-dsn-file"
            return f"--store=postgres needs the URI of its database: {names}"
    elif text("peers") or text("peer_listen"):
        return "--peers and --peer-listen are for brokers that share a store: --store=postgres"
    if text("peers") and not text("peer_listen"):
        return "--peers needs --peer-listen: the other brokers want to follow this one too"
    if bool(text("tls_cert_file")) != bool(text("tls_key_file")):
        return "--tls-cert-file and --tls-key-file go together: give both for TLS, or none"
    if text("tls_client_ca_file") and not text("tls_cert_file"):
        return "--tls-client-ca-file needs --tls-cert-file and --tls-key-file: clients show certificates in TLS only"
    if text("authorization_file") and text("trust_proxy") == "no":
        return "--authorization-file needs --trust-proxy=yes: it is the proxy that tells who clients are"
    return ""


def _settings(values: _Values) -> Settings:
    text, number, seconds = values.text, values.number, values.seconds
    return Settings(
        listen=text("listen"),
        http=text("http"),
        door=text("door"),
        store=text("store"),
        sqlite_path=text("sqlite_path"),
        sqlite_limit=number("sqlite_limit"),
        postgres_dsn=text("postgres_dsn"),
        postgres_dsn_file=text("postgres_dsn_file"),
        postgres_password_file=text("postgres_password_file"),
        postgres_pool=number("postgres_pool"),
        memory_limit=number("memory_limit"),
        store_wait=seconds("store_wait"),
        peers=text("peers"),
        peer_listen=text("peer_listen"),
        drain_timeout=seconds("drain_timeout"),
        log_format=text("log_format"),
        log_level=text("log_level"),
        limits=_limits(values),
        door_limits=_door_limits(values),
        tls=_tls(values),
        trust_proxy=text("trust_proxy") == "yes",
        authorization_file=Path(text("authorization_file")) if text("authorization_file") else None,
    )


def _limits(values: _Values) -> Limits:
    return Limits(
        max_body=values.number("max_body"),
        max_headers=values.number("max_headers"),
        max_expiration=values.number("max_expiration"),
        deduplication_window=values.seconds("deduplication_window"),
        max_queue_messages=values.number("max_queue_messages"),
        max_queue_bytes=values.number("max_queue_bytes"),
        max_subscriptions=values.number("max_subscriptions"),
        cache_bytes=values.number("cache_bytes"),
    )


def _door_limits(values: _Values) -> DoorLimits:
    return DoorLimits(
        # Room for two of the largest messages in a frame, and for being told exactly what is too large.
        max_request=max(4 * MIB, 2 * (values.number("max_body") + values.number("max_headers"))) + 64 * KIB,
        max_stream_queue=values.number("subscription_queue_bytes"),
        max_queued=values.number("delivery_queue_bytes"),
        max_connections=values.number("max_connections"),
        max_streams=values.number("max_streams"),
        max_queued_calls=values.number("max_queued_calls"),
        request_timeout=values.seconds("request_timeout"),
        keepalive_time=values.seconds("keepalive_time"),
        keepalive_timeout=values.seconds("keepalive_timeout"),
        keepalive_min_interval=values.seconds("keepalive_min_interval"),
        max_connection_age=values.seconds("max_connection_age"),
        max_connection_age_grace=values.seconds("max_connection_age_grace"),
    )


def _tls(values: _Values) -> Tls | None:
    if not values.text("tls_cert_file"):
        return None
    client_ca = values.text("tls_client_ca_file")
    return Tls(
        Path(values.text("tls_cert_file")), Path(values.text("tls_key_file")), Path(client_ca) if client_ca else None
    )
