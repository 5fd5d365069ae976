"""Facts that only the source has: every refusal, and the strings that a method is called with."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROXY = Path(__file__).parents[2] / "proxy"
_VARIABLES = {"limit": ("max_flights", "max_followers")}  # what a reason can be that a variable holds


class Refused(NamedTuple):
    """One place in the code that refuses a request. What a detail takes from the request is written "..."."""

    status: int
    reason: str
    detail: str
    error: str  # the name of the `Reason`, where the status alone does not tell it


def refusals() -> Iterator[Refused]:
    """Yield every refusal that the code makes, with the constants and texts that stand in its call."""
    for file in sorted(PROXY.rglob("*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(module):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in _calls(function, "Refusal"):
                    yield from _read(call, function, module)


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def _read(call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> Iterator[Refused]:
    status, reason, detail = call.args[:3]
    assert isinstance(status, ast.Constant), f"line {call.lineno}: a refusal's status is written out"
    reasons = _VARIABLES[reason.id] if isinstance(reason, ast.Name) else (_text(reason),)
    errors = [keyword.value.attr for keyword in call.keywords if isinstance(keyword.value, ast.Attribute)]
    for one in reasons:
        for text in _details(detail, function, module):
            yield Refused(int(str(status.value)), one, text, errors[0] if errors else "")


def _details(detail: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> Iterator[str]:
    """Yield what a detail can be: it may be a variable of the function, one of its parameters, or a constant."""
    if not isinstance(detail, ast.Name):
        yield _text(detail)
        return
    names = [argument.arg for argument in function.args.args]
    if detail.id in names:
        for call in _calls(module, function.name):
            yield _text(call.args[names.index(detail.id)])
    for node in (*ast.walk(function), *module.body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == detail.id:
            yield _text(node.value)


def _text(node: ast.expr) -> str:
    """Return a text as far as it stands in the code."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return ""


def words_given(room: str, *methods: str) -> list[str]:
    """Return every word that stands in the first argument of a call of one of `methods` in a room of `proxy/`."""
    words: set[str] = set()
    for file in sorted((PROXY / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                given = ast.walk(node.args[0]) if node.args else ()
                words |= {str(each.value) for each in given if isinstance(each, ast.Constant)}
    assert words, f"proxy/{room} has no call of {methods}: was a method renamed?"
    return sorted(filter(str.isidentifier, words))
