"""Directories that stand for the Secrets of a BrokerCluster: `--secrets DIR` has DIR/SECRET/ENTRY."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.cli.failure import Failure
from broker_operator.api import BrokerCluster


@dataclass(frozen=True)
class Secrets:
    """The directory of each Secret that the proxy reads; None where the spec names none."""

    server_tls: Path | None = None
    client_ca: Path | None = None
    api_keys: Path | None = None


NO_SECRETS = Secrets()


def secrets(cluster: BrokerCluster, directory: Path | None) -> Secrets:
    """Return where the Secrets of the cluster's proxy are.

    Raises:
        Failure: the spec names some and there is no directory, or it has not all of them.
    """
    named = dict(_named(cluster))
    if directory is None:
        if named:
            msg = (
                f"BrokerCluster {cluster.name} needs the Secrets {', '.join(sorted(set(named.values())))}: give "
                "--secrets DIR, with a directory for each of them and in that a file for each entry, e.g. "
                f"DIR/{next(iter(named.values()))}/tls.crt"
            )
            raise Failure(msg)
        return Secrets()
    found = {use: directory.absolute() / name for use, name in named.items()}
    for use, each in found.items():
        for file in _ENTRIES[use]:
            if not (each / file).is_file():
                msg = f"{each / file} is missing: it stands for the entry {file} of the Secret {each.name}"
                raise Failure(msg)
        if not each.is_dir():
            msg = f"the directory {each} is missing: it stands for the Secret {each.name}"
            raise Failure(msg)
    return Secrets(**found)


_ENTRIES = {"server_tls": ("tls.crt", "tls.key"), "client_ca": ("ca.crt",), "api_keys": ()}


def _named(cluster: BrokerCluster) -> Iterator[tuple[str, str]]:
    proxy = cluster.spec.proxy
    if proxy.tls is not None:
        yield "server_tls", proxy.tls.secret_name
        if proxy.tls.client_ca_secret_name is not None:
            yield "client_ca", proxy.tls.client_ca_secret_name
    if proxy.authentication.api_keys is not None:
        yield "api_keys", proxy.authentication.api_keys.secret_name
