"""A PostgreSQL server in the cluster, as somebody else would run it."""

import os
from collections.abc import Mapping
from typing import Any

from tests.e2e.clusters import OFFICIAL_POSTGRES, POSTGRES_IMAGE
from tests.e2e.installed import RESTRICTED
from tests.e2e.kubectl import Kubectl, eventually

_NAME = "postgres"
_USER = 999
# Its files are made once; the pod's volume keeps them while the container is started again.
_START = """\
set -e
if [ ! -s /data/db/PG_VERSION ]; then
  initdb -D /data/new -U postgres -E UTF8 --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >> /data/new/pg_hba.conf
  mv /data/new /data/db
fi
exec postgres -D /data/db -k /tmp -c listen_addresses='*' -c max_connections=60 -c shared_buffers=32MB
"""


class Postgres:
    """One server, a pod and a Service named `postgres`, in kubectl's namespace."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def start(self) -> "Postgres":
        """Start the server and wait until it takes connections."""
        labels = {"app": _NAME}
        container = {
            "name": _NAME,
            "image": os.environ.get(POSTGRES_IMAGE) or OFFICIAL_POSTGRES,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", _START],
            "ports": [{"name": "postgres", "containerPort": 5432}],
            "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "/tmp"]}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            "securityContext": {**RESTRICTED, "runAsUser": _USER, "runAsGroup": _USER},
        }
        spec = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"fsGroup": _USER},
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        }
        ports = [{"name": "postgres", "port": 5432, "targetPort": "postgres"}]
        self._kubectl.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _NAME, "labels": labels}, "spec": spec},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": _NAME},
                "spec": {"selector": labels, "ports": ports},
            },
        )
        self._kubectl.wait(f"pod/{_NAME}", "condition=Ready")
        return self

    def new_database(self, name: str, password: str) -> str:
        """Make a role and a database that it owns, as docs/postgres.md says; returns the URI."""
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self.sql(f"CREATE DATABASE {name} OWNER {name} ENCODING 'UTF8' TEMPLATE template0")
        return uri(name, password)

    def change_password(self, name: str, password: str) -> None:
        """Change a role's password, and cut its connections, so that new ones are made with the new password."""
        self.sql(f"ALTER ROLE {name} PASSWORD '{password}'")
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")

    def sql(self, statement: str) -> str:
        """Run SQL as the superuser, over the socket."""
        command = ("psql", "-h", "/tmp", "-U", "postgres", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        return self._kubectl("exec", _NAME, "--", *command, "-c", statement).strip()

    def restart(self) -> None:
        """Shut the server down, as a change of its settings would, and wait until it is back."""
        before = self._restarts()
        self._kubectl("exec", _NAME, "--", "sh", "-c", "kill -INT 1")
        eventually(lambda: self._restarts() > before, "PostgreSQL has been restarted")
        self._kubectl.wait(f"pod/{_NAME}", "condition=Ready")

    def _restarts(self) -> int:
        (status,) = self._kubectl.get("pod", _NAME)["status"]["containerStatuses"]
        count: int = status["restartCount"]
        return count


def uri(name: str, password: str, database: str | None = None) -> str:
    """The URI of a role's database on this server."""
    return f"postgresql://{name}:{password}@{_NAME}:5432/{database or name}"


def secret(name: str, dsn: str) -> Mapping[str, Any]:
    """A Secret with a URI, as a BrokerCluster names it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"uri": dsn}}
