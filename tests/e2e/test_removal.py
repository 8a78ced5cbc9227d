"""Deleting a BrokerCluster leaves nothing behind."""

from tests.e2e.conftest import Start
from tests.e2e.kubectl import Kubectl, eventually

KINDS = (
    "brokerclusters,deployments,replicasets,pods,services,endpointslices,configmaps,serviceaccounts,"
    "persistentvolumeclaims,poddisruptionbudgets,networkpolicies,servicemonitors"
)
# Kubernetes puts these into every namespace.
EVERYWHERE = {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}


def everything(kubectl: Kubectl) -> set[str]:
    found = {f"{item['kind']}/{item['metadata']['name']}" for item in kubectl.list(KINDS)}
    return found - EVERYWHERE


def test_nothing_of_a_deleted_cluster_is_left(start: Start, place: Kubectl) -> None:
    start("gone", {"storage": {"type": "SQLite"}})
    assert len(everything(place)) > 10
    place.delete("brokercluster", "gone")
    eventually(lambda: not everything(place), f"nothing is left of {everything(place)}")
