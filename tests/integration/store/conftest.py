from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stores import MAKERS, StoreCase


@pytest.fixture(params=sorted(MAKERS))
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreCase]:
    """One open store of each kind."""
    case = StoreCase(MAKERS[request.param], tmp_path)
    await case.open()
    yield case
    await case.store.close()
