"""Both doors, and certificates."""

from pathlib import Path

import pytest

from tests.support.brokers import DOORS
from tests.support.tls import Authority


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Each door there is here."""
    return str(request.param)


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """One that is trusted, and another."""
    directory = tmp_path_factory.mktemp("authorities")
    return Authority(directory, "ours"), Authority(directory, "theirs")


@pytest.fixture
def authority(authorities: tuple[Authority, Authority]) -> Authority:
    return authorities[0]


@pytest.fixture
def other_authority(authorities: tuple[Authority, Authority]) -> Authority:
    return authorities[1]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Where a broker's TLS files are."""
    directory = tmp_path / "tls"
    directory.mkdir()
    return directory
