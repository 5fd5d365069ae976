"""Every fenced block of the pages is checked, because a reader may copy it."""

from pathlib import Path

import pytest

from tests.unit.docs.checks import CHECKS, UNCHECKED, check
from tests.unit.docs.pages import PAGES, Block, blocks, named

BLOCKS = [(page, block) for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{named(page)}:{block.line}" for page, block in BLOCKS])
def test_a_block_is_what_it_says(page: Path, block: Block, tmp_path: Path) -> None:
    """A block says its language; one that nothing checks is `text`."""
    assert block.language in CHECKS or block.language in UNCHECKED, f"no check for {block.language!r}"
    if block.language in CHECKS:
        check(block.language, block.text, tmp_path)
