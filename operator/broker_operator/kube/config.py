"""Where the API server is and who we are to it."""

from __future__ import annotations

import os

# `kubernetes.aio.client` loads its models on first use; the package's other doors (`kubernetes`) load everything.
from kubernetes.aio import config as loaders
from kubernetes.aio.client import Configuration


async def load_configuration(kubeconfig: str | None = None) -> Configuration:
    """Read the given kubeconfig, or else KUBECONFIG if it is set, the pod's ServiceAccount, ~/.kube/config.

    The ServiceAccount's token rotates: the returned configuration re-reads its file every minute.
    Raises `RuntimeError` with what was tried when there is none of them.
    """
    configuration = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        if not path and "KUBERNETES_SERVICE_HOST" in os.environ:
            loaders.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await loaders.load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except loaders.ConfigException as error:
        raise RuntimeError(
            f"no way to reach a Kubernetes API server: {error}. Run in a pod with a ServiceAccount, or set KUBECONFIG."
        ) from error
    return configuration
