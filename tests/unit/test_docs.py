"""Every test that a page names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[a-z0-9_/]{1,80}\.py)::([a-z0-9_]{1,160})`")
CONTAINERS = re.compile(
    "dict|list|set|deque|bytearray|array|lru_cache|OrderedDict|defaultdict|SimpleQueue|Queue|"
    "Bounded|Weights|Latest|Gathered"
)
# Rooms whose containers hold nothing that a request adds to, or what has a row under another name.
GROWS_NOT = {
    "admin": "an operator's", "cli": "a command's", "config": "read at the start", "demo": "a tour's",
    "init": "a command's", "inject": "a command's", "exchange": "a request's own", "audit/chain.py": "one second",
    "process.py": "signals",
    "audit/record.py": "names from the configuration", "audit/log.py": "the audit queue", "audit/writer.py": "as well",
    "policy/bounded.py": "the bound itself", "policy/routing.py": "the configured routes", "signals.py": "signals",
    "policy/spans.py": "a request's own", "server/listener.py": "the sockets that listen",
    "observe/metrics.py": "the configured names",
}  # fmt: skip
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    """A test that is renamed takes its row along."""
    for file, name in NAMED.findall(page.read_text(encoding="utf-8")):
        path = ROOT / file
        assert path.is_file(), file
        assert f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_row_of_what_a_request_can_reach_names_its_test() -> None:
    """No field is listed without what shows what it may do."""
    section = (ROOT / "docs/security.md").read_text(encoding="utf-8").partition("## What a request can reach")[2]
    rows = [row for row in section.partition("\n## ")[0].splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row.rpartition(" | ")[2])] == []


def test_every_row_of_what_can_grow_names_its_test() -> None:
    """No bound is claimed without what fills the structure."""
    rows = [row for row in (ROOT / "docs/memory.md").read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    assert len(rows) > 35
    assert [row for row in rows[2:] if not NAMED.search(row.rpartition(" | ")[2])] == []


def test_every_module_that_holds_something_is_in_the_table_of_what_can_grow() -> None:
    """A container in an attribute outlives the call that made it: its module has a row, or a reason not to."""
    page = (ROOT / "docs/memory.md").read_text(encoding="utf-8")
    rows = "\n".join(row for row in page.splitlines() if row.startswith("| "))
    holding = {str(file.relative_to(ROOT / "proxy")) for file in (ROOT / "proxy").rglob("*.py") if _holds(file)}
    assert "policy/coalescing.py" in holding
    named = {module for module in holding if f"`{module}`" in rows}
    assert sorted(module for module in holding - named if not {module, module.split("/")[0]} & set(GROWS_NOT)) == []


def _holds(file: Path) -> bool:
    """Tell whether a module puts a container into an attribute, or caches what a function returned."""
    return any(_is_container(value) for value in _kept(ast.parse(file.read_text(encoding="utf-8"))))


def _kept(module: ast.Module) -> Iterator[ast.expr | None]:
    for node in ast.walk(module):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield node.value if isinstance(target, ast.Attribute) else None
        elif isinstance(node, ast.FunctionDef):
            yield from node.decorator_list


def _is_container(value: ast.expr | None) -> bool:
    if not isinstance(value, ast.Call):
        return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)
    made = value.func
    while isinstance(made, ast.Call | ast.Subscript):
        made = made.func if isinstance(made, ast.Call) else made.value
    name = made.attr if isinstance(made, ast.Attribute) else made.id if isinstance(made, ast.Name) else ""
    return CONTAINERS.fullmatch(name) is not None
