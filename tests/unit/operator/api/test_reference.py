"""docs/crd.md says what the CRD says. `UPDATE_GOLDEN=1 pytest …` writes it anew."""

import os
import re
from pathlib import Path

from tests.support.crd_reference import reference
from tests.unit.operator.api.test_crd import ROOT, every_schema

PAGE = Path(__file__).parents[4] / "docs" / "crd.md"


def test_the_reference_is_up_to_date() -> None:
    text = reference(ROOT)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(text)
    assert text == PAGE.read_text(), "the CRD changed: run again with UPDATE_GOLDEN=1 and read the difference"


def test_every_link_in_it_leads_somewhere() -> None:
    text = PAGE.read_text()
    sections = {re.sub(r"[^a-z0-9_-]", "", heading.lower()) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= sections


def test_nothing_is_left_out() -> None:
    text = PAGE.read_text()
    for path, schema in every_schema(ROOT["properties"]["spec"], "spec"):
        for name in schema.get("properties", {}):
            assert f"`{name}`" in text, path
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule["message"].removeprefix("must be ") in text, path
