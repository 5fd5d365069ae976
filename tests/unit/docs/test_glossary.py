"""The glossary defines every term of the policies and of the pages in one sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config.schema import configuration_schema
from tests.unit.docs.pages import DOCS, ROOT

PAGE = DOCS / "architecture.md"
ROW = re.compile(r"\| ([^|]+) \| ([^|]+) \|")
ROOM = re.compile(r"`(\w+)/`")
WORD = re.compile(r"[A-Z][a-z0-9]+")
# Words that a reader of the code knows: HTTP's, Python's and English ones.
PLAIN = frozenset({
    "acceptor", "acquired", "address", "admissible", "again", "answer", "ask", "balanced", "balancer", "bounded",
    "bundle", "cache", "checked", "claiming", "client", "coalesce", "collector", "command", "condition", "connection",
    "connector", "cors", "create", "down", "ed25519", "effect", "end", "endpoint", "erased", "error", "existing",
    "factory", "file", "flow", "forwarding", "gate", "half", "handler", "handshake", "health", "heavy", "held",
    "hmac", "holder", "honest", "hook", "hooks", "http", "identifier", "identity", "info", "instead",
    "invalidation", "joined", "joining", "keep", "kind", "latest", "lead", "leaving", "leftover", "level", "limit",
    "link", "load", "local", "log", "look", "lost", "match", "memory", "message", "metadata", "meter", "misuse",
    "mode", "name", "newest", "no", "not", "observer", "of", "opening", "orphaned", "other", "out", "output", "over",
    "overflow",
    "own", "parent", "patience", "phase", "pipeline", "policy", "port", "position", "proof", "proxies", "pub", "query",
    "queue", "read", "reader", "recorder", "recovered", "redis", "refused", "remainder", "respond", "responder",
    "result", "role", "router", "rule", "scope", "sent", "served", "server", "settled", "shared", "socket", "span",
    "stage", "standard", "stat", "state", "step", "stop", "store", "stream", "streamed", "sub", "table", "take",
    "template", "timer", "tls", "tracer", "unavailable", "use", "value", "wait", "weighing", "weight", "wiring",
    "with", "writer", "written", "yielding",
})  # fmt: skip
ROOMS = ("policy", "exchange", "store", "audit", "server", "upstream", "transport", "http")
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


def classes() -> Iterator[str]:
    """Yield the public classes of the policies, of a request's stages, and of the rooms that serve them."""
    for room in ROOMS:
        for file in sorted(Path(ROOT, "proxy", room).glob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            yield from (node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")


def test_every_class_of_these_rooms_is_named_by_terms() -> None:
    """A class is named by a term of the glossary, or in plain words: a reader must not guess."""
    words = {word for term in TERMS for word in term.replace("-", " ").split()}
    assert sorted(name for name in set(classes()) if not _known(name, words)) == []


def _known(name: str, words: set[str]) -> bool:
    parts = [word.lower() for word in WORD.findall(name)]
    return all(any(each in words or each in PLAIN for each in (part, part.rstrip("s"))) for part in parts)


def test_every_room_is_in_the_table_of_rooms() -> None:
    """A room that is renamed takes its row along."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    named = {
        name for line in section.splitlines() if line.startswith("| `") for name in ROOM.findall(line.split("|")[1])
    }
    assert named == {folder.parent.name for folder in (ROOT / "proxy").glob("*/__init__.py")}


def test_every_section_of_the_configuration_is_named_by_a_term_or_plainly() -> None:
    plain = {"admin", "defaults", "listen", "log", "store", "audit", "dry_run"}
    words = {word for term in TERMS for word in term.split()}
    assert {name for name in configuration_schema()["properties"] if name.rstrip("s") not in words} <= plain
