"""Real brokers, of every kind."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokers import KINDS, Kind
from tests.support.wire import Wire, wire


@pytest.fixture(params=KINDS, ids=str, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of broker there is."""
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def broker(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker that the tests of a module share, each on subjects of its own."""
    with kind.process(tmp_path_factory.mktemp("data")) as process:
        yield process
        assert "Traceback" not in process.log


@pytest.fixture
async def client(broker: BrokerProcess) -> AsyncIterator[Wire]:
    """A connection to the shared broker."""
    async with wire(broker.address) as connected:
        yield connected


@pytest.fixture
def subject() -> str:
    """A subject that nobody else uses."""
    return f"subject-{uuid4().hex}"
