"""The page on classes: the composition of those in `proxy/exchange/`, and the reasons for wide classes."""

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.reference.markdown import code, page, table
from tests.reference.source import PROXY

MANY: Final = 15  # attributes; a class with more needs a reason below
REASONS: Final = {
    "Assembly": "Every object that routes share. A reload builds a new one and swaps it in one assignment.",
    "Audit": "One table of the configuration: a field for each setting.",
    "AuditLog": "The front of the trail: the queue's limits and counts, and the parts that it starts and stops.",
    "Broadcast": "One streamed response for many readers: the bytes, their limits, and each reader's place in them.",
    "ControlPlane": "What the control plane may ask of the sidecar, or tell it: a field for each callback.",
    "DiskBundle": "The composition root of a durable store: each part that it starts and stops.",
    "DiskWriter": "One thread, its queue with the queue's counts, and who waits for it.",
    "Exchange": "The facts of one request from its head to its record. The stages keep no state of a request.",
    "Flight": "One shared call: its callers, its outcome, and what ends it.",
    "Listen": "One table of the configuration: a field for each setting.",
    "Metadata": "The schema of a record's `metadata`: a field for each of its members.",
    "Metrics": "One Prometheus metric for each attribute.",
    "Ports": "What the stages use of the outside: one Protocol for each attribute, given once to the factory.",
    "Request": "What was read from one request's head and body.",
    "RequestRecord": "The schema of an audit record: a field for each field of the record.",
    "Route": "The settings of one route as plain attributes, compiled for the hot path.",
    "RouteSettings": "The settings of one route: a field for each setting.",
    "ServerState": "What the connections of one listener share: limits, counts, and what they are built with.",
    "Sidecar": "The composition root: each object that it starts, reloads and stops.",
    "TrailWriter": "One open audit file: its position, its chain, and when it rotates.",
    "UpstreamConnection": "The state of one connection and of the one request on it.",
}


class ClassFacts(NamedTuple):
    """What the source says of one class."""

    name: str
    file: str
    bases: tuple[str, ...]
    takes: frozenset[str]  # the names in the annotations of its constructor
    attributes: int
    protocol: bool


def classes(room: str = "") -> list[ClassFacts]:
    """Return the classes of a room of `proxy/`, or of all, by file and place."""
    files = sorted((PROXY / room).rglob("*.py"))
    return [facts for file in files for facts in _classes_of(ast.parse(file.read_text()), str(file.relative_to(PROXY)))]


def chain(facts: ClassFacts, among: dict[str, ClassFacts]) -> int:
    """Return how many classes of ours stand in a line of inheritance that ends with this one."""
    return 1 + max((chain(among[base], among) for base in facts.bases if base in among), default=0)


def classes_page() -> str:
    """Return the page."""
    wide = sorted((c for c in classes() if c.attributes > MANY), key=lambda c: (-c.attributes, c.name))
    rows = [(code(c.name), code(f"proxy/{c.file}"), str(c.attributes), REASONS.get(c.name, "")) for c in wide]
    return page(
        "Classes",
        "proxy/",
        "## The exchange",
        "A triangle points at a base class. Another arrow leads from a class to what its constructor takes. "
        "Nearly every stage takes `Ports` and `Wiring` as well. Those two and the Protocols that they hold are in "
        "`proxy/exchange/ports.py`, and are left out here.",
        _diagram([c for c in classes("exchange") if not c.protocol]),
        "## Classes with many attributes",
        f"Each class of `proxy/` with more than {MANY} attributes.",
        table(("class", "file", "attributes", "why"), rows),
    )


def _diagram(room: list[ClassFacts]) -> str:
    names = {c.name for c in room} - {"Ports", "Wiring"}
    lines = [f"    {base} <|-- {c.name}" for c in room for base in c.bases if base in names]
    lines += [f"    {c.name} --> {taken}" for c in room if c.name in names for taken in sorted(c.takes & names)]
    return "\n".join(["```mermaid", "classDiagram", "    direction LR", *lines, "```"])


def _classes_of(module: ast.Module, file: str) -> Iterator[ClassFacts]:
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            bases = tuple(ast.unparse(base).partition("[")[0] for base in node.bases)
            yield ClassFacts(node.name, file, bases, _taken(node), len(_attributes(node)), "Protocol" in bases)


def _taken(node: ast.ClassDef) -> frozenset[str]:
    """Return the names in the annotations of a constructor, or of the fields that stand for one."""
    found: list[ast.expr | None] = [each.annotation for each in node.body if isinstance(each, ast.AnnAssign)]
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            found += [argument.annotation for argument in (*each.args.args, *each.args.kwonlyargs)]
    return frozenset(name.id for each in found if each for name in ast.walk(each) if isinstance(name, ast.Name))


def _attributes(node: ast.ClassDef) -> set[str]:
    """Return the fields of a class, and what its methods set of `self`."""
    found = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
    }
    return found | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }
