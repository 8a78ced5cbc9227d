"""Where Envoy takes the parts of its configuration from: they stand in one file, or each in a file that it watches."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from broker_operator.render.envoy.names import ROUTE_CONFIG, Config, typed

LISTENERS, CLUSTERS, ROUTES = "lds.json", "cds.json", "rds.json"

_LISTENER = "envoy.config.listener.v3.Listener"
_CLUSTER = "envoy.config.cluster.v3.Cluster"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a message's name
_FILTER = "envoy.config.core.v3.TypedExtensionConfig"


class Sources:
    """Collects the parts while they are rendered, and says how each is referred to.

    `directory`: where the files will be, for an Envoy that follows them; None for one configuration that has all in it.
    """

    def __init__(self, directory: str | None) -> None:
        self.directory = directory
        self._secrets: dict[str, Config] = {}
        self._filters: dict[str, Config] = {}

    def routes(self, config: Config) -> Config:
        """Fields of an HTTP connection manager that make it use these routes."""
        if self.directory is None:
            return {"route_config": config}
        return {"rds": {"route_config_name": ROUTE_CONFIG, "config_source": self.watched(ROUTES)}}

    def http_filter(
        self, name: str, config: Config, kinds: tuple[str, ...] = (), *, completed_in: str | None = None
    ) -> Config:
        """An HTTP filter whose configuration may change without cutting a stream. `name` is its kind too.

        `kinds`: the messages among which its configuration may change; by default the present one.
        `completed_in`: the directory where another program puts the file once it has added what is secret.
        """
        self._filters[name] = config
        if self.directory is None:
            return {"name": name, "typed_config": config}
        source = self.watched(filter_file(name), completed_in)
        types = [typed(kind)["@type"] for kind in kinds] or [config["@type"]]
        discovery = {"config_source": source, "type_urls": types}
        return {"name": name, "config_discovery": discovery}

    def secret(self, name: str, secret: Config) -> Config:
        """A reference (SdsSecretConfig) to a certificate or to authorities, which name files themselves."""
        self._secrets[name] = {"name": name, **secret}
        if self.directory is None:
            return {"name": name}
        return {"name": name, "sds_config": self.watched(_secret_file(name))}

    def watched(self, file: str, directory: str | None = None) -> Config:
        """A ConfigSource. A mounted ConfigMap changes by swapping a symlink: seen only by who watches its directory.

        `directory`: another than that of all files.
        """
        if self.directory is None:
            raise ValueError("one configuration that has all in it watches no files")
        path = PurePosixPath(directory or self.directory, file)
        return {
            "resource_api_version": "V3",
            "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        }

    @property
    def secrets(self) -> list[Config]:
        """All that was referred to, for an Envoy that follows no files."""
        return list(self._secrets.values())

    def files(self, listeners: list[Config], clusters: list[Config], routes: Config) -> dict[str, Config]:
        """The files beside the bootstrap, by name. All say the same version: a hash of what they say together."""
        resources = {
            LISTENERS: [typed(_LISTENER, **one) for one in listeners],
            CLUSTERS: [typed(_CLUSTER, **one) for one in clusters],
            ROUTES: [typed(_ROUTES, **routes)],
            # One resource a file: Envoy refuses more in a file of secrets.
            **{_secret_file(name): [typed(_SECRET, **secret)] for name, secret in self._secrets.items()},
            **{
                filter_file(name): [typed(_FILTER, name=name, typed_config=config)]
                for name, config in self._filters.items()
            },
        }
        version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
        return {file: {"version_info": version, "resources": found} for file, found in resources.items()}


def _secret_file(name: str) -> str:
    return f"sds-{name}.json"


def filter_file(name: str) -> str:
    """The file with the configuration of an HTTP filter."""
    return f"ecds-{name.rpartition('.')[2]}.json"
