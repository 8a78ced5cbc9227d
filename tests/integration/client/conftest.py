from collections.abc import AsyncIterator, Iterator

import pytest

from broker.client import Broker, connect
from tests.support.broker import BrokerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[BrokerProcess]:
    with BrokerProcess("--store=memory", "--max-body=64Ki") as process:
        yield process


@pytest.fixture
async def broker(server: BrokerProcess) -> AsyncIterator[Broker]:
    async with connect(server.address) as connected:
        yield connected


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    return request.node.name
