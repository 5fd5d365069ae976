"""Additions to the built site: files of the repository that pages link to, and the diagrams' script.

MkDocs calls these functions by their names.
"""

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
MERMAID: Final = ROOT / "build" / "mermaid" / "dist" / "mermaid.min.js"
_SCRIPT = "javascripts/mermaid.min.js"
_LINK = re.compile(r"(?P<before>\]\()(?P<target>\.\.?/[^)#\s]*)(?P<after>[)#])")
_FOLDER = "repository"  # of the site: what pages link to outside of docs/


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the pages load the diagrams' script from the site, where scripts/docs has put it."""
    if MERMAID.is_file():
        config.extra_javascript.append(_SCRIPT)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the script, and every file outside of docs/ that a page links to."""
    if MERMAID.is_file():
        files.append(File.generated(config, _SCRIPT, abs_src_path=str(MERMAID)))
    linked = {path for page in files.documentation_pages() for path in _outside(page.src_uri, page.content_string)}
    for path in sorted(linked):
        files.append(File.generated(config, f"{_FOLDER}/{_shown(path)}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links out of docs/ lead to the copies in the site; a link to a folder becomes its name."""
    up = "../" * page.file.src_uri.count("/")

    def led(found: re.Match[str]) -> str:
        path = _within(page.file.src_uri, found["target"])
        return found[0] if path is None else f"{found['before']}{up}{_FOLDER}/{_shown(path)}{found['after']}"

    return _LINK.sub(led, markdown)


def _outside(page: str, markdown: str) -> set[str]:
    targets = (_within(page, found["target"]) for found in _LINK.finditer(markdown))
    return {path for path in targets if path is not None}


def _within(page: str, target: str) -> str | None:
    """Return the repository's path of a link's target outside of docs/, None for one inside."""
    path = (ROOT / "docs" / page).parent.joinpath(target).resolve()
    if path.is_relative_to(ROOT / "docs") or not path.is_relative_to(ROOT):
        return None
    return (path / "README.md" if path.is_dir() else path).relative_to(ROOT).as_posix()


def _shown(path: str) -> str:
    """Return the name of a copy: a page would be built, so it is shown as text."""
    return f"{path}.txt"
