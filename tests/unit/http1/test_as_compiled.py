"""Checks of slices as in compiled code: a slice of bytes that ends before it begins raises SystemError there.

The modules that read bytes are run here with every slice checked as the compiler's own code would take it, so that a
plain build shows it too.
"""

import ast
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.growth.case import REFUSALS
from tests.growth.functions import IN_ANSWERS, IN_CHUNKS, IN_HEADS
from tests.growth.inputs import FILLINGS, filled
from tests.settings import DEFAULTS

ROOT = Path(__file__).parents[3]
BYTES = [b"", b"\n", b"\r", b"\r\n", b"\nxx\r\n", b"\r\n\r\n", b"a", b"0", b"1", b";", b":", b"[", b"]", b"%", b"\0"]


def sliced(value: Any, lower: Any, upper: Any, step: Any) -> Any:
    """Slice as compiled code does: both ends are clamped to the length, and the begin must not pass the end."""
    if isinstance(value, bytes) and step is None:
        size = len(value)
        begin = 0 if lower is None else max(0, lower + size) if lower < 0 else lower
        end = size if upper is None else max(0, upper + size) if upper < 0 else min(upper, size)
        if begin > end:
            raise SystemError(f"a slice from {begin} to {end} of {size} bytes")
    return value[lower:upper:step]


class _Slices(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.slice, ast.Slice) or not isinstance(node.ctx, ast.Load):
            return node
        ends = [end or ast.Constant(None) for end in (node.slice.lower, node.slice.upper, node.slice.step)]
        return ast.copy_location(ast.Call(ast.Name("_sliced", ast.Load()), [node.value, *ends], []), node)


def checked(name: str) -> ModuleType:
    """Return a copy of a module with every slice checked."""
    original = import_module(name)
    path = Path(str(original.__file__)).parent / f"{name.rpartition('.')[2]}.py"
    tree = ast.fix_missing_locations(_Slices().visit(ast.parse(path.read_text())))
    module = ModuleType(f"checked.{name}")
    module.__dict__["_sliced"] = sliced
    sys.modules[module.__name__] = module  # dataclasses look for it there
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def _chunked() -> Callable[[bytes], object]:
    module = checked("proxy.http1.body")

    def feed(data: bytes) -> None:
        for size in (len(data) + 1, 1, 2, 3):
            body = module.ChunkedBody()
            with suppress(*REFUSALS):
                for at in range(0, len(data), size):
                    body.feed(data[at : at + size])
        module.LengthBody(3).feed(data)

    return feed


def _heads() -> Callable[[bytes], object]:
    module = checked("proxy.http1.head")

    def read(data: bytes) -> None:
        with suppress(*REFUSALS):
            module.RequestHeadReader(module.HeadLimits.of(DEFAULTS.listen)).read(data)
        with suppress(*REFUSALS):
            module.ResponseHeadReader().read(data, "GET")
        with suppress(*REFUSALS):
            module.check_unfinished(data or b"G", max(0, len(data) - 3), module.HeadLimits.of(DEFAULTS.listen))

    return read


def _one(name: str, function: str) -> Callable[[bytes], object]:
    call = getattr(checked(name), function)

    def read(data: bytes) -> None:
        with suppress(*REFUSALS):
            call(data)

    return read


READERS: dict[str, Callable[[], Callable[[bytes], object]]] = {
    "body": _chunked,
    "head": _heads,
    "field_lines": lambda: _one("proxy.http1.field_lines", "read_lines"),
    "authority": lambda: _one("proxy.http.authority", "names_host"),
    "cache_control": lambda: _one("proxy.policy.cache_control", "_members"),
    "credentials": lambda: _one("proxy.policy.credentials", "authorizes"),
    "trace_context": lambda: _one("proxy.policy.trace_context", "parse"),
    "chain": lambda: _one("proxy.audit.chain", "parse_link"),
}


WALKED = {
    "proxy/audit/chain.py", "proxy/http/authority.py", "proxy/policy/cache_control.py", "proxy/policy/credentials.py",
    "proxy/policy/trace_context.py", "proxy/http1/body.py", "proxy/http1/head.py", "proxy/http1/field_lines.py",
}  # fmt: skip
NOT_WALKED = {
    "proxy/policy/routing.py": "templates of the configuration, which were checked",
    "proxy/text.py": "text: compiled code slices it as the source does",
}


def two_ended(path: Path) -> bool:
    """Tell whether a module has a slice that says where it begins and where it ends."""
    slices = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Slice))
    return any(one.lower is not None and one.upper is not None for one in slices)


def test_every_module_with_such_slices_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice from the beginning, or to the end, cannot end before it begins."""
    monkeypatch.chdir(ROOT)
    found = {path for path in runpy.run_path("setup.py")["modules"]() if two_ended(Path(path))}
    assert found - WALKED == NOT_WALKED.keys()


def inputs() -> Iterator[bytes]:
    """Yield short inputs of every shape, each cut off at every length."""
    for around in (*IN_CHUNKS, *IN_HEADS[:4], *IN_ANSWERS[:4]):
        for filling in FILLINGS.values():
            data = filled(around, filling, 6)
            yield from (data[:end] for end in range(max(0, len(data) - 12), len(data) + 1))
    yield from BYTES
    yield from (one + other for one in BYTES for other in BYTES)


@pytest.mark.parametrize("reader", READERS)
def test_no_slice_ends_before_it_begins(reader: str) -> None:
    read = READERS[reader]()
    for data in inputs():
        read(data)


def test_a_slice_that_compiled_code_cannot_take_is_seen() -> None:
    with pytest.raises(SystemError):
        sliced(b"\nxx", -1, 0, None)
    with pytest.raises(SystemError):
        sliced(b"ab", 3, None, None)
    assert sliced(b"ab", 2, None, None) == b""
    assert sliced(b"abc", -2, -1, None) == b"b"
