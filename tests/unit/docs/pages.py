"""Parse the project's pages: headings, links and fenced blocks."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("helm/**/*.md"), *ROOT.glob("examples/**/*.md")])
_NO_SLUG = re.compile(r"[^\w\- ]")


class Block(NamedTuple):
    """A fenced block: the line on which it begins, its language and its text."""

    line: int
    language: str
    text: str


def named(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """Return what a page consists of, in CommonMark with tables."""
    return tuple(MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    fences = [token for token in tokens(page) if token.type == "fence"]
    return [Block((token.map or [0])[0] + 1, token.info.split(" ")[0], token.content) for token in fences]


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of every link and picture."""
    for token in tokens(page):
        line = (token.map or [0])[0] + 1
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield line, str(target)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the names that a link can lead to, as GitHub and the built pages make them of headings."""
    found: list[str] = []
    all_tokens = tokens(page)
    for opening, heading in pairwise(all_tokens):
        if opening.type == "heading_open":
            slug = _slug(heading)
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def _slug(heading: Token) -> str:
    text = "".join(child.content for child in heading.children or () if child.type in ("text", "code_inline"))
    return _NO_SLUG.sub("", text.lower()).replace(" ", "-")
