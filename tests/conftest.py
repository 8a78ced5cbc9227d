"""Says what of the broker is tested."""

from broker.server.doors import EXTENSION, HOW_TO_GET_IT
from tests.support.brokers import DOORS, NATIVE


def pytest_report_header() -> str:
    """The doors, and why one is left out."""
    left_out = "" if NATIVE else f" (native is left out: {EXTENSION} is not installed; {HOW_TO_GET_IT})"
    return f"doors: {', '.join(DOORS)}{left_out}"
