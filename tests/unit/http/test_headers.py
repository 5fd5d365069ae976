"""Every list of header field names is in `proxy/http/headers.py`, and in no other module."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from proxy.http import headers

ROOT = Path(__file__).parents[3]
TABLES = ROOT / "proxy/http/headers.py"
LEAST = 3  # fewer names side by side are no list
EXCEPTIONS = {
    "proxy/audit/record_schema.py": "the reasons for going alone, three of which are named after the field",
}


def _tables() -> dict[str, Collection[object]]:
    return {name: value for name, value in vars(headers).items() if name.isupper() and isinstance(value, Collection)}


# Prefixes ("if-") are no names, and None stands for an absent field.
KNOWN = {
    name.lower()
    for table in _tables().values()
    for name in table
    if isinstance(name, bytes) and name and not name.endswith(b"-")
}


def _names(node: ast.AST) -> list[bytes]:
    """Return the constants of one literal: a set, tuple, list, dict's keys, or one string of words."""
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        return _constants(node.elts)
    if isinstance(node, ast.Dict):
        return _constants([key for key in node.keys if key is not None])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        return [word for text in _constants([node.func.value]) for word in text.split()]
    return []


def _constants(nodes: list[ast.expr]) -> list[bytes]:
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value if isinstance(value, bytes) else value.encode() for value in values if isinstance(value, bytes | str)]


def lists_of_names(source: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the line and the members of every literal with at least `LEAST` names of header fields among them."""
    for node in ast.walk(ast.parse(source)):
        names = [name.lower() for name in _names(node)]
        if len(KNOWN.intersection(names)) >= LEAST:
            yield getattr(node, "lineno", 0), names


def test_no_list_of_field_names_stands_elsewhere() -> None:
    """A second list would be forgotten when the first one changes."""
    found = [
        f"{file.relative_to(ROOT)}:{line}: {b' '.join(names).decode()}"
        for file in sorted((ROOT / "proxy").rglob("*.py"))
        if file != TABLES and file.relative_to(ROOT).as_posix() not in EXCEPTIONS
        for line, names in lists_of_names(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("path", EXCEPTIONS)
def test_an_exception_is_still_needed(path: str) -> None:
    """An exception without a cause would hide a list that comes later."""
    assert len(list(lists_of_names((ROOT / path).read_text(encoding="utf-8")))) == 1


@pytest.mark.parametrize(
    "source",
    [
        'X = frozenset({b"range", b"expect", b"upgrade"})',
        'X = (b"Range", b"Expect", b"Upgrade")',
        'X = [b"range", b"x-mine", b"expect", b"upgrade"]',
        'X = {b"range": 1, b"expect": 2, b"upgrade": 3}',
        'X = frozenset(b"range expect upgrade".split())',
        'X = {"range", "expect", "upgrade"}',
    ],
)
def test_a_list_is_found_however_it_is_written(source: str) -> None:
    """The test above can fail."""
    assert [names for _, names in lists_of_names(source)]


def test_every_table_is_constant_and_explained() -> None:
    """A table is `Final`, which compiled code reads without a dictionary, and the comment above it says its meaning."""
    lines = TABLES.read_text(encoding="utf-8").splitlines()
    for name in _tables():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}: Final"))
        assert lines[at - 1].startswith("# ") or "  # " in lines[at], name
