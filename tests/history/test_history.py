"""Brokers on one store are one broker, whatever breaks: a minute of it. `make torture` does this for longer."""

from pathlib import Path

import pytest

from tests.history.torture import Setup, torture
from tests.support.brokers import DOORS

SETUPS = {
    # Where the native door is, two of three brokers have it.
    "three brokers": Setup(doors=DOORS[::-1]),
    "brokers that do not know each other": Setup(seconds=10, peers=False, doors=DOORS[:1]),
    "one broker on SQLite": Setup(seconds=10, store="sqlite", doors=DOORS[-1:]),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
async def test_no_promise_is_broken(setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print()
        report = await torture(setup, tmp_path)
        print(report)
    assert report.violations == 0, f"the history and the logs are in {tmp_path}; the seed is printed above"
    # A load or a nemesis that does nothing finds nothing.
    assert report.faults.total() > 0
    for name in ("acknowledged", "duplicates", "deliveries", "fetches"):
        assert report.counts[name] > 0, name
