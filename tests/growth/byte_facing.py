"""Find the functions of the product that iterate over bytes or text from outside, and those that a run enters.

A function counts if it looks through a text (it calls a method such as `split`, `replace`, `find`, `join`, `loads`, or
one of a pattern), or if it has a loop and takes a parameter that may hold what somebody else wrote: bytes, text,
fields, a request, an answer, a path. Constant work, and loops over the sidecar's own objects alone, do not count.
"""

import ast
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

Function = ast.FunctionDef | ast.AsyncFunctionDef
SCANS = frozenset({
    "split", "rsplit", "splitlines", "replace", "translate", "find", "rfind", "index", "rindex", "count", "join",
    "match", "fullmatch", "search", "sub", "subn", "finditer", "findall", "loads",
})  # fmt: skip
HOLDS_TEXT = frozenset({
    "bytes", "bytearray", "memoryview", "str", "Any", "Path", "TextIO", "Fields", "Lines", "Request", "Response",
    "Document", "Keys", "Record", "Line",
})  # fmt: skip
_WORD = re.compile(r"\w+")
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def byte_facing(folder: Path) -> Iterator[str]:
    """Yield the functions under `folder` that count, such as `http1.head.RequestHeadReader.read`."""
    for path in sorted(folder.rglob("*.py")):
        module = _module(path, folder)
        for name, function in _functions(ast.parse(path.read_text()), ()):
            if counts(function):
                yield ".".join((module, *name))


def counts(function: Function) -> bool:
    """Tell whether a function counts, by its own lines without those of functions within it."""
    nodes = list(_own_nodes(function))
    scans = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SCANS
        for node in nodes
    )
    return scans or (any(isinstance(node, _LOOPS) for node in nodes) and _takes_text(function))


@contextmanager
def entered(folder: Path) -> Iterator[set[str]]:
    """Gather the functions under `folder` that are entered meanwhile, in every thread; what is compiled is not seen."""
    found: set[str] = set()
    modules = {str(path): _module(path, folder) for path in folder.rglob("*.py")}

    def look(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and (module := modules.get(code.co_filename)) is not None:
            found.update(_with_enclosing(f"{module}.{code.co_qualname}"))

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def _with_enclosing(name: str) -> Iterator[str]:
    """Yield a function's name, and those of the functions that it is written in: a lambda's work is theirs."""
    parts = name.split(".<locals>")
    return (".<locals>".join(parts[:size]) for size in range(1, len(parts) + 1))


def _module(path: Path, folder: Path) -> str:
    return ".".join(path.relative_to(folder).with_suffix("").parts)


def _functions(node: ast.AST, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Function]]:
    """Yield every function with its name as Python qualifies it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield (*above, child.name), child
            yield from _functions(child, (*above, child.name, "<locals>"))
        else:
            yield from _functions(child, (*above, child.name) if isinstance(child, ast.ClassDef) else above)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _OWN_SCOPE):
            yield child
            yield from _own_nodes(child)


def _takes_text(function: Function) -> bool:
    """Tell whether the annotation of a parameter names a type that holds text; one that is quoted is read too."""
    said = function.args
    every = (*said.posonlyargs, *said.args, *said.kwonlyargs, said.vararg, said.kwarg)
    annotations = [one.annotation for one in every if one is not None and one.annotation is not None]
    return any(_names(annotation) & HOLDS_TEXT for annotation in annotations)


def _names(annotation: ast.expr) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_WORD.findall(node.value))
    return found
