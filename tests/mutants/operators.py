"""Generate the mutants of a module: each differs from the source in one place."""

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
_ARITHMETIC: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
}  # fmt: skip
_SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Change(NamedTuple):
    """The replacement of source lines and columns, in bytes, by a text; `what` is the operator's name."""

    what: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str

    def replaced(self, source: str) -> str:
        """Return what the change replaces."""
        lines = source.encode().split(b"\n")[self.line - 1 : self.end_line]
        lines[-1] = lines[-1][: self.end_column]
        lines[0] = lines[0][self.column :]
        return b"\n".join(lines).decode()

    def apply(self, source: str) -> str:
        """Return the source with the change."""
        lines = source.encode().split(b"\n")
        before, after = lines[self.line - 1][: self.column], lines[self.end_line - 1][self.end_column :]
        changed = [*lines[: self.line - 1], before + self.text.encode() + after, *lines[self.end_line :]]
        return b"\n".join(changed).decode()

    def shown(self, source: str) -> str:
        """Return the changed place before and after, on one line: it stays the same when other lines move."""
        changed = self.apply(source).encode().split(b"\n")
        lines = source.encode().split(b"\n")
        behind = len(lines) - self.end_line
        old = b" ".join(line.strip() for line in lines[self.line - 1 : self.end_line])
        new = b" ".join(line.strip() for line in changed[self.line - 1 : len(changed) - behind])
        return f"{old.decode()} -> {new.decode()}"


def changes(source: str) -> list[Change]:
    """Return every change of a module, in the order of its lines. Annotations and docstrings stay as they are."""
    tree = ast.parse(source)
    found = [change for node in _executed(tree) for change in _of(node, source)]
    return sorted({change for change in found if _compiles(change.apply(source))})


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes whose change can show in a test: no imports, annotations, docstrings or `repr`."""
    if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.FunctionDef) and node.name == "__repr__"):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "type_params", "decorator_list", "bases"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _executed(child)


def _of(node: ast.AST, source: str) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            yield _between("comparison", left, right, _COMPARISONS[type(op)], source)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield _between("arithmetic", left, right, _ARITHMETIC[type(op)], source)
        case ast.BoolOp(op=op, values=[*_, one, other]):
            words = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
            yield _between("and, or", one, other, words, source)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _instead("negation", node, _text(operand, source))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield _instead("negation", test, f"not ({_text(test, source)})")
        case ast.Constant(value=bool() as value):
            yield _instead("constant", node, repr(not value))
        case ast.Constant(value=int() as value):
            yield from (_instead("constant", node, repr(value + by)) for by in (1, -1))
        case ast.Name(id=name, ctx=ast.Load()) if name in _SWAPPED:
            yield _instead("function", node, _SWAPPED[name])
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield _instead("deleted statement", node, "pass")
        case ast.Assign(targets=[ast.Attribute()]) | ast.Continue() | ast.Break():
            yield _instead("deleted statement", node, "pass")


def _instead(what: str, node: ast.expr | ast.stmt, text: str) -> Change:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return Change(what, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, text)


def _between(what: str, left: ast.expr, right: ast.expr, words: tuple[str, str], source: str) -> Change:
    """Return the replacement of the operator between two operands: what else stands there are parentheses."""
    assert left.end_lineno is not None
    assert left.end_col_offset is not None
    gap = Change(what, left.end_lineno, left.end_col_offset, right.lineno, right.col_offset, "")
    return gap._replace(text=gap.replaced(source).replace(*words, 1))


def _text(node: ast.expr, source: str) -> str:
    text = ast.get_source_segment(source, node)
    assert text is not None
    return text
