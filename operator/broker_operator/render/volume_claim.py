"""The volume of the SQLite store."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster, SQLiteStorage, StorageType
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """The claim, for SQLite. It outlives the pods and goes with the BrokerCluster."""
    if cluster.spec.storage.type is not StorageType.SQLITE:
        return
    sqlite = cluster.spec.storage.sqlite or SQLiteStorage()
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(sqlite.size)}},
    }
    # Absent: the default class. Empty: a volume without a class.
    if sqlite.storage_class_name is not None:
        spec["storageClassName"] = sqlite.storage_class_name
    yield {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": names.metadata(cluster, settings, names.broker_data(cluster), names.BROKER),
        "spec": spec,
    }
