"""The one thing about the layout that Python itself would punish."""

import operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_operator_directory_is_not_a_package():
    """A package named operator would hide Python's own, and then not even `import collections` works."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert hasattr(operator, "itemgetter")
    subprocess.run([sys.executable, "-c", "import collections, broker_operator"], cwd=ROOT, check=True)
