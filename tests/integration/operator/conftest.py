"""A real API server, namespaces to throw away, and operators as child processes with the rights of their manifests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from broker_operator.kube import BROKER_CLUSTER, Kube, load_configuration
from tests.support.api_proxy import ApiProxy, kubeconfig
from tests.support.operators import OperatorProcess, running
from tests.support.rights import token_with_rights
from tests.support.scratch import Scratch, eventually, scratch

CRD = Path(__file__).parents[3] / "manifests" / "crd" / "brokerclusters.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if not os.environ.get("E2E_KUBECONFIG"):
                item.add_marker(pytest.mark.skip(reason="E2E_KUBECONFIG is not set: no Kubernetes to test with"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kube() -> AsyncIterator[Kube]:
    """The API server, with an administrator's rights and our CRD on it."""
    async with Kube(await load_configuration(os.environ["E2E_KUBECONFIG"])) as connection:
        crd = yaml.safe_load(CRD.read_text())
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        query = [("fieldManager", "kubectl"), ("force", "true")]
        await connection.request("PATCH", path, query=query, body=crd, content_type="application/apply-patch+yaml")
        await eventually(lambda: connection.serves(BROKER_CLUSTER), "the API server knows BrokerClusters")
        yield connection


@pytest_asyncio.fixture(loop_scope="session")
async def room(kube: Kube) -> AsyncIterator[Scratch]:
    """A namespace of this test's own."""
    async with scratch(kube) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A namespace with an operator that several tests share."""
    async with AsyncExitStack() as stack:
        yield await _house(stack, await stack.enter_async_context(scratch(kube)), tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(loop_scope="session")
async def house(room: Scratch, tmp_path: Path) -> AsyncIterator[House]:
    """A namespace of this test's own, with an operator."""
    async with AsyncExitStack() as stack:
        yield await _house(stack, room, tmp_path)


class House(Scratch):
    """A namespace with an operator in it, behind a proxy before the API server."""

    def __init__(self, room: Scratch, proxy: ApiProxy, config: Path, operator: OperatorProcess) -> None:
        super().__init__(room.kube, room.namespace)
        self.proxy = proxy
        self.config = config
        self.operator = operator


async def _house(stack: AsyncExitStack, room: Scratch, directory: Path) -> House:
    proxy = await stack.enter_async_context(ApiProxy(room.kube.configuration))
    config = kubeconfig(directory / "kubeconfig", proxy.url, await token_with_rights(room.kube, room.namespace))
    operator = await stack.enter_async_context(running(config, room.namespace, directory / "first.log"))
    return House(room, proxy, config, operator)
