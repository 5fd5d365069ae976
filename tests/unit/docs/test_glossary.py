"""The glossary has every term of the policies and of the pages, and says each in one sentence."""

import re

import pytest

from proxy.config.schema import configuration_schema
from tests.unit.docs.pages import DOCS

PAGE = DOCS / "architecture.md"
ROW = re.compile(r"\| ([^|]+) \| ([^|]+) \|")
EVERYWHERE = (
    "flight", "follower", "lane", "leader", "operation", "outcome", "principal", "probe", "request key", "restoration",
    "sidecar", "subject", "upstream",
)  # fmt: skip


def glossary() -> dict[str, str]:
    """Return each term and what is said of it; a row may have several terms."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Glossary\n")[2].partition("\n## ")[0]
    rows = [ROW.fullmatch(line) for line in section.splitlines() if line.startswith("| ")][2:]
    return {term.strip(): row[2] for row in rows if row for term in row[1].split(",")}


TERMS = glossary()


def test_it_is_sorted() -> None:
    assert len(TERMS) > 50
    firsts = list({meaning: term for term, meaning in reversed(TERMS.items())}.values())[::-1]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_has_one_sentence(term: str) -> None:
    meaning = TERMS[term]
    assert meaning.endswith(".")
    assert ". " not in meaning.replace("e.g. ", "")
    assert len(meaning.split()) <= 25


@pytest.mark.parametrize("term", EVERYWHERE)
def test_what_the_pages_say_everywhere_is_in_it(term: str) -> None:
    assert term in TERMS


def test_every_section_of_the_configuration_is_named_by_a_term_or_plainly() -> None:
    plain = {"admin", "defaults", "listen", "log", "store", "audit", "dry_run"}
    words = {word for term in TERMS for word in term.split()}
    assert {name for name in configuration_schema()["properties"] if name.rstrip("s") not in words} <= plain
