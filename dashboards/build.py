"""Write the dashboard's JSON: `python -m dashboards.build`."""

import json
from pathlib import Path

from dashboards.cluster import DASHBOARD
from dashboards.model import to_json

OUTPUT = Path(__file__).parent / "brokercluster.json"
"""A link to the file in the operator's package, which puts it into a ConfigMap."""


def text() -> str:
    """The file's content: the same data gives the same bytes."""
    return json.dumps(to_json(DASHBOARD), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(text(), encoding="utf-8")
