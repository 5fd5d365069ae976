"""What the pages promise is tested: every test that a page names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[a-z0-9_/]{1,80}\.py)::([a-z0-9_]{1,160})`")
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    """A test that is renamed takes its row along."""
    for file, name in NAMED.findall(page.read_text(encoding="utf-8")):
        path = ROOT / file
        assert path.is_file(), file
        assert f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_row_of_what_a_request_can_reach_names_its_test() -> None:
    """No field is listed without what shows what it may do."""
    section = (ROOT / "docs/security.md").read_text(encoding="utf-8").partition("## What a request can reach")[2]
    rows = [row for row in section.partition("\n## ")[0].splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row.rpartition(" | ")[2])] == []
