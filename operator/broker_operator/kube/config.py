"""Where the API server is and who we are to it."""

from __future__ import annotations

import os

# `kubernetes.aio.client` loads its models on first use; the package's other doors (`kubernetes`) load everything.
from kubernetes.aio import config as loaders
from kubernetes.aio.client import Configuration


async def load_configuration() -> Configuration:
    """Read KUBECONFIG if it is set, else the pod's ServiceAccount, else ~/.kube/config.

    The ServiceAccount's token rotates: the returned configuration re-reads its file every minute.
    Raises `RuntimeError` with what was tried when there is none of them.
    """
    configuration = Configuration()
    try:
        if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            loaders.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await loaders.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except loaders.ConfigException as error:
        raise RuntimeError(
            f"no way to reach a Kubernetes API server: {error}. Run in a pod with a ServiceAccount, or set KUBECONFIG."
        ) from error
    return configuration
