"""Pages are short, generated ones are fresh, and every link leads somewhere."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.reference.pages import FOLDER, pages
from tests.unit.docs.pages import DOCS, PAGES, ROOT, anchors, links, named

LONGEST = 250  # lines of a page
LONGEST_README = 150  # lines
GENERATED = pages()


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_fresh(name: str) -> None:
    """What the code says and what the page says are the same: run scripts/docs."""
    path = FOLDER / name
    assert path.is_file(), "run scripts/docs"
    assert path.read_text(encoding="utf-8") == GENERATED[name], "run scripts/docs"


def test_nothing_else_is_in_the_folder_of_generated_pages() -> None:
    """A page that is no longer generated goes."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(GENERATED)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=named)
def test_no_page_is_too_long_to_read(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A file that a link names is in the repository, and has the heading."""
    lost = [f"line {line}: {target}" for line, target in links(page) if not _leads(page, target)]
    assert lost == []


def _leads(page: Path, target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme:
        return parts.scheme in ("http", "https", "mailto") and bool(parts.netloc or parts.path)
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not path.is_relative_to(ROOT) or not path.exists():
        return False
    return not parts.fragment or (path.suffix == ".md" and parts.fragment in anchors(path))
