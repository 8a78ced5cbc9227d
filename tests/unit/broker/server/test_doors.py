"""Which door is opened, and what a door may not be."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from broker.server.doors import EXTENSION, make_door
from broker.server.grpcio_door import GrpcioDoor
from broker.server.settings import parse_settings
from tests.support.brokers import NATIVE


@pytest.fixture
def unwinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that survives its own panics."""
    extension = ModuleType(EXTENSION)
    extension.PANIC = "unwind"  # type: ignore[attr-defined]
    extension.__spec__ = ModuleSpec(EXTENSION, None)
    monkeypatch.setitem(sys.modules, EXTENSION, extension)
    monkeypatch.delitem(sys.modules, "broker.server.native_door", raising=False)


@pytest.mark.skipif(not NATIVE, reason="the extension is not installed")
def test_a_panic_of_the_extension_ends_the_process() -> None:
    import brokercluster_native

    assert brokercluster_native.PANIC == "abort"


async def test_an_extension_whose_panic_would_leave_a_broker_without_a_door_is_not_used(unwinding: None) -> None:
    assert isinstance(make_door(parse_settings(["--door=auto"], {}), None), GrpcioDoor)
    with pytest.raises(OSError, match="panic=abort"):
        make_door(parse_settings(["--door=native"], {}), None)


@pytest.mark.skipif(not NATIVE, reason="the extension is not installed")
async def test_the_door_that_is_asked_for() -> None:
    names = [make_door(parse_settings([f"--door={name}"], {}), None).name for name in ("auto", "native", "grpcio")]
    assert names == ["native", "native", "grpcio"]
