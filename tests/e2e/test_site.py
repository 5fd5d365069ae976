"""The pages are built into a site without a warning: each is in the navigation, every link and anchor resolves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LOADED = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    pytest.importorskip("mkdocs", reason="the extra docs builds the pages")
    pytest.importorskip("material", reason="the extra docs builds the pages")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file(), page


def test_every_diagram_is_left_to_be_drawn(site: Path) -> None:
    """A fence that the build does not know would be shown as its source."""
    for page in DOCS.rglob("*.md"):
        diagrams = page.read_text(encoding="utf-8").count("```mermaid\n")
        built = (site / page.relative_to(DOCS)).with_suffix(".html").read_text(encoding="utf-8")
        assert built.count('<pre class="mermaid">') == diagrams, page


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    """Neither fonts nor scripts: who reads them tells nobody."""
    for page in site.rglob("*.html"):
        loaded = [
            found[0] for found in LOADED.finditer(page.read_text(encoding="utf-8")) if "canonical" not in found[0]
        ]
        assert loaded == [], page
