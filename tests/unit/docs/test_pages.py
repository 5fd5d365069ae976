"""Pages are short, generated ones are fresh, and every link leads somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.reference.__main__ import main
from tests.reference.pages import FOLDER, pages
from tests.unit.docs.pages import DOCS, PAGES, ROOT, anchors, links, named

NAVIGATED = re.compile(r"^ +- ([\w/-]+\.md)$", re.MULTILINE)
LONGEST = 250  # lines of a page
LONGEST_README = 150  # lines
GENERATED = pages()
STALE = "run `.venv/bin/python -m tests.reference`, or scripts/docs, and commit what it writes"


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_fresh(name: str) -> None:
    """What the code says and what the page says are the same."""
    path = FOLDER / name
    assert path.is_file(), STALE
    assert path.read_text(encoding="utf-8") == GENERATED[name], STALE


def test_nothing_else_is_in_the_folder_of_generated_pages() -> None:
    """A page that is no longer generated goes."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(GENERATED)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=named)
def test_no_page_is_too_long_to_read(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_command_finds_nothing_stale(capsys: pytest.CaptureFixture[str]) -> None:
    """`scripts/docs --check` says so with its exit status."""
    assert main(["--check"]) == 0
    assert main(["--chek"]) == 2
    assert capsys.readouterr().err == "usage: python -m tests.reference [--check]\n"


def test_the_command_names_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It changes nothing then; without `--check` it writes."""
    monkeypatch.setattr("tests.reference.__main__.FOLDER", tmp_path)
    assert main(["--check"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == len(GENERATED)
    assert list(tmp_path.iterdir()) == []
    assert (main([]), main(["--check"])) == (0, 0)


def test_the_navigation_has_every_page() -> None:
    """A page that no menu leads to is not found; the built site is refused without it."""
    listed = NAVIGATED.findall((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


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
