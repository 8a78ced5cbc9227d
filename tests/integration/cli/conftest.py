from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokerctl import Brokerctl


@pytest.fixture(scope="package")
def server() -> Iterator[BrokerProcess]:
    with BrokerProcess("--store=memory") as process:
        yield process


@pytest.fixture
def brokerctl(server: BrokerProcess, tmp_path: Path) -> Brokerctl:
    """`brokerctl` that speaks to the server of these tests."""
    return Brokerctl(tmp_path, {"BROKERCTL_SERVER": server.address})


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    return request.node.name
