"""The modules that setup.py compiles, checked against the compiler's limits without a build."""

import ast
import importlib
import runpy
import sys
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from proxy.build import COMPILED
from tests.compiled import not_compiled

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    """Return setup.py's names; nothing is built."""
    return runpy.run_path(str(ROOT / "setup.py"))


@pytest.fixture
def compiled(build: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of the modules that are compiled."""
    monkeypatch.chdir(ROOT)
    return list(build["modules"]())


def _name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _classes(paths: Iterable[str]) -> Iterator[tuple[ast.ClassDef, type]]:
    """Yield every class of these modules, as it is written and as it is."""
    for path in paths:
        module = importlib.import_module(_name(path))
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield node, getattr(module, node.name)


def _stays_ordinary(cls: type) -> bool:
    """Tell whether the compiler leaves it an ordinary Python class."""
    return issubclass(cls, tuple | Enum) or getattr(cls, "_is_protocol", False)


def test_every_entry_names_a_module(build: dict[str, Any], compiled: list[str]) -> None:
    """No pattern is empty, what is left out is there, and the page is among the rest."""
    assert all(list(ROOT.glob(pattern)) for pattern in build["COMPILED"])
    assert all((ROOT / path).is_file() for path in build["LEFT_OUT"])
    assert {"proxy/exchange/handler.py", "proxy/build.py", "proxy/upstream/upstream_connection.py"} <= set(compiled)


def test_a_pure_install_asks_for_no_compiler(build: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wheel is compiled: whoever asks what a build needs, or installs for development, imports no compiler."""
    monkeypatch.setattr("sys.argv", ["setup.py", "editable_wheel"])
    monkeypatch.setitem(sys.modules, "mypyc.build", None)
    assert build["extensions"]() == []


def test_children_are_compiled_with_their_parents(compiled: list[str]) -> None:
    """What is not compiled cannot derive from a compiled class."""
    native = {_name(path) for path in compiled}
    others = {path.relative_to(ROOT).as_posix() for path in (ROOT / "proxy").rglob("*.py")} - {*compiled}
    for _, cls in _classes(others - {"proxy/__main__.py"}):
        parents = {base.__name__ for base in cls.__mro__[1:] if base.__module__ in native and not _stays_ordinary(base)}
        assert not parents, cls


def test_no_compiled_class_is_a_kind_of_dict_or_exception(compiled: list[str]) -> None:
    """Before Python 3.12 the first weak reference to one ends the process: such classes stand in modules left out."""
    for _, cls in _classes(compiled):
        builtins = {base for base in cls.__mro__[1:-1] if base.__module__ == "builtins"}
        assert not builtins or _stays_ordinary(cls), cls


def test_no_class_has_a_value_that_only_its_instances_would_see(compiled: list[str]) -> None:
    """A compiled class has what its body assigns only where that says `Final` or `ClassVar`."""
    for node, cls in _classes(compiled):
        if _stays_ordinary(cls) or is_dataclass(cls):
            continue
        plain = [ast.unparse(line.targets[0]) for line in node.body if isinstance(line, ast.Assign)]
        assert set(plain) <= {"__slots__"}, cls
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and line.value is not None:
                assert ast.unparse(line.annotation).startswith(("Final", "ClassVar")), cls


def test_no_field_is_an_object_by_that_name(compiled: list[str]) -> None:
    """`body: object` in a NamedTuple looks for `object` in the module, and there it is not: an alias is."""
    for node, cls in _classes(compiled):
        if issubclass(cls, tuple):
            said = [ast.unparse(line.annotation) for line in node.body if isinstance(line, ast.AnnAssign)]
            assert "object" not in said, cls


def test_a_source_does_not_stand_in_for_a_compiled_module(compiled: list[str]) -> None:
    """`pytest --compiled` refuses to run for each module that is not machine code: for all of them, or none."""
    assert not_compiled() == ([] if COMPILED else [_name(path) for path in compiled])
