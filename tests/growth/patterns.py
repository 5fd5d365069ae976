"""Find every pattern of a package, and tell whether matching it can take more than linear time.

A pattern passes where no repeat has to choose: what can follow a repeat cannot begin another round of it, or the
repeat is possessive. Then a match never goes back over characters that it has read, and its time is linear. A pattern
that is searched for must also not begin within one of its own repeats, or a start at each character would read the
same run again.

By our own hand, because no checker that is kept knows both Python's possessive repeats and polynomial time: regexploit
(2021) fails on the former, dlint and redos-linter find exponential time alone, and recheck reads JavaScript.
"""

import ast
import re
import re._constants as op  # type: ignore[import-not-found]  # typeshed leaves out the engine's own modules
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

MANY = 1000  # rounds; a repeat of fewer is a constant factor
_SEARCHES = frozenset({"search", "finditer", "findall", "sub", "subn", "split"})
_ALPHABET = [
    *map(chr, range(0x180)),
    "\u2028",
    "\u4e00",
    "\U0001f600",
]  # every kind of character that classes tell apart
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_EMPTY = (op.AT, op.ASSERT, op.ASSERT_NOT)
_END = -1  # stands for the end of the text among the characters that may follow

Chars = frozenset[int]
Items = Sequence[tuple[Any, Any]]


class Found(NamedTuple):
    """A pattern, where it is defined, and whether it is searched for in a text or must match from a given place."""

    place: str
    pattern: "re.Pattern[Any]"
    searched: bool


def patterns(folder: Path) -> Iterator[Found]:
    """Yield the compiled patterns that the modules under `folder` hold, by name."""
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        if path.name == "__main__.py" or "re" not in _imported(tree := ast.parse(path.read_text())):
            continue
        module = import_module(name)
        searched = {name for name, method in _uses(tree) if method in _SEARCHES}
        for variable, value in vars(module).items():
            if isinstance(value, re.Pattern) and _assigned(module, tree, variable):
                yield Found(f"{name}.{variable}", value, variable in searched)


def unnamed(path: Path) -> Iterator[int]:
    """Yield the lines on which a pattern is used that no name of the module holds: nobody can check those."""
    tree = ast.parse(path.read_text())
    named = {id(node) for value in _values_of_names(tree) for node in ast.walk(value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_of_re(node.func) and id(node) not in named:
            yield node.lineno


def _imported(tree: ast.Module) -> set[str]:
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


def _uses(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names whose attributes are looked up, with the attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def _values_of_names(tree: ast.Module) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield node.value


def _assigned(module: ModuleType, tree: ast.Module, name: str) -> bool:
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _is_of_re(func: ast.expr) -> bool:
    """Tell whether a call compiles or uses a pattern: `re.escape` and the like do neither."""
    functions = _SEARCHES | {"compile", "match", "fullmatch"}
    return (
        isinstance(func, ast.Attribute)
        and isinstance(func.value, ast.Name)
        and func.value.id == "re"
        and func.attr in functions
    )


def objections(pattern: "re.Pattern[Any]", *, searched: bool) -> list[str]:
    """Return why matching may take more than linear time; nothing where it cannot."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(text, pattern.flags & ~re.UNICODE & ~re.DEBUG if pattern.flags & re.ASCII else pattern.flags)
    return _Check(pattern.flags).run(tree, searched=searched)


@dataclass(slots=True)
class _Check:
    """One walk over a pattern's parsed tree, from its end: what may follow is then known everywhere."""

    flags: int

    def run(self, tree: Any, *, searched: bool) -> list[str]:
        said = list(self._walk(list(tree), frozenset({_END}), looped=False))
        begins = self._starts(list(tree)) & self._runs(_that_may_fail(list(tree))) if searched else frozenset[int]()
        if begins:
            said.append(f"it is searched for, and may begin within its own run of {_shown(begins)}")
        return said

    def _starts(self, items: Items) -> Chars:
        """Return the characters at which, or after which, a search tries again."""
        if items and items[0] == (op.AT, op.AT_BEGINNING_STRING):
            return frozenset()
        if items and items[0] == (op.AT, op.AT_BEGINNING):
            return frozenset({ord("\n")}) if self.flags & re.MULTILINE else frozenset()
        return self._first(items)

    def _walk(self, items: Items, follow: Chars, *, looped: bool) -> Iterator[str]:
        """Yield the objections to a sequence after which `follow` comes; `looped`: within a long repeat."""
        for what, argument in reversed(items):
            yield from self._one(what, argument, follow, looped=looped)
            follow = self._before(what, argument, follow)

    def _one(self, what: Any, argument: Any, follow: Chars, *, looped: bool) -> Iterator[str]:
        if what in _REPEATS:
            yield from self._repeat(what, argument, follow, looped=looped)
        elif what is op.BRANCH:
            yield from self._branch(argument[1], follow, looped=looped)
        elif what in (op.SUBPATTERN, op.ATOMIC_GROUP):
            if what is op.SUBPATTERN and (argument[1] or argument[2]):
                yield "flags hold for a part of it"  # which this check does not follow
            yield from self._walk(_inside(what, argument)[0], follow, looped=looped)
        elif what in (op.ASSERT, op.ASSERT_NOT):
            yield from self._walk(list(argument[1]), frozenset({_END}), looped=looped)
        elif what in (op.GROUPREF, op.GROUPREF_EXISTS):
            yield "it refers back to a group"

    def _repeat(self, what: Any, argument: Any, follow: Chars, *, looped: bool) -> Iterator[str]:
        least, most, _ = argument
        body = _inside(what, argument)[0]
        again, long = self._first(body), most >= MANY
        chooses = (long or (looped and least != most)) and what is not op.POSSESSIVE_REPEAT
        if chooses and again & follow:
            yield f"a repeat may go on or end at {_shown(again & follow)}"
        if long and self._nullable(body):
            yield "a repeat of what may be empty"
        yield from self._walk(body, follow | again if most > 1 else follow, looped=looped or long)

    def _branch(self, branches: Any, follow: Chars, *, looped: bool) -> Iterator[str]:
        seen: Chars = frozenset()
        for branch in map(list, branches):
            begin = self._first(branch) | (follow if self._nullable(branch) else frozenset())
            if looped and begin & seen:
                yield f"two ways within a repeat begin with {_shown(begin & seen)}"
            seen |= begin
            yield from self._walk(branch, follow, looped=looped)

    def _before(self, what: Any, argument: Any, follow: Chars) -> Chars:
        """Return what may stand where an item begins after which `follow` comes."""
        item = [(what, argument)]
        return self._first(item) | follow if self._nullable(item) else self._first(item)

    def _first(self, items: Items) -> Chars:
        """Return the characters that a sequence may begin with."""
        found: Chars = frozenset()
        for what, argument in items:
            found |= self._begins(what, argument)
            if not self._nullable([(what, argument)]):
                break
        return found

    def _begins(self, what: Any, argument: Any) -> Chars:
        if what in _REPEATS:
            return self._first(argument[2])
        if what is op.BRANCH:
            return frozenset[int]().union(*(self._first(branch) for branch in argument[1]))
        if what is op.SUBPATTERN:
            return self._first(argument[3])
        if what is op.ATOMIC_GROUP:
            return self._first(argument)
        if what in (op.GROUPREF, op.GROUPREF_EXISTS):
            return frozenset(map(ord, _ALPHABET))
        return frozenset() if what in _EMPTY else self._chars(what, argument)

    def _nullable(self, items: Items) -> bool:
        return all(self._may_be_empty(what, argument) for what, argument in items)

    def _may_be_empty(self, what: Any, argument: Any) -> bool:
        if what in _REPEATS:
            return argument[0] == 0 or self._nullable(argument[2])
        if what is op.BRANCH:
            return any(self._nullable(branch) for branch in argument[1])
        if what is op.SUBPATTERN:
            return self._nullable(argument[3])
        if what is op.ATOMIC_GROUP:
            return self._nullable(argument)
        return what in (*_EMPTY, op.GROUPREF, op.GROUPREF_EXISTS)

    def _runs(self, items: Items) -> Chars:
        """Return every character that some long repeat may read."""
        found: Chars = frozenset()
        for what, argument in items:
            if what in _REPEATS and argument[1] >= MANY:
                found |= self._all(argument[2])
            else:
                found |= frozenset[int]().union(*(self._runs(inner) for inner in _inside(what, argument)))
        return found

    def _all(self, items: Items) -> Chars:
        found: Chars = frozenset()
        for what, argument in items:
            inner = _inside(what, argument)
            found |= (
                frozenset[int]().union(*(self._all(one) for one in inner)) if inner else self._begins(what, argument)
            )
        return found

    def _chars(self, what: Any, argument: Any) -> Chars:
        """Return what one item of one character matches, as the engine itself tells it."""
        single = parser.SubPattern(parser.State(), [(what, argument)])
        single.state.str, single.state.flags = "", self.flags
        matches = re._compiler.compile(single, self.flags & ~re.DEBUG).fullmatch  # type: ignore[attr-defined]
        return frozenset(ord(char) for char in _ALPHABET if matches(char))


def _that_may_fail(items: Items) -> Items:
    """Return a sequence without what at its end always matches: nobody begins anew after that."""
    while items and items[-1][0] in _REPEATS and len(items[-1][1][2]) == 1 and not _inside(*items[-1][1][2][0]):
        least = items[-1][1][0]
        items = items[:-1]
        if least:
            break
    return items


def _inside(what: Any, argument: Any) -> list[Any]:
    """Return the sequences within an item."""
    if what in _REPEATS:
        return [list(argument[2])]
    if what is op.BRANCH:
        return [list(branch) for branch in argument[1]]
    if what is op.SUBPATTERN:
        return [list(argument[3])]
    return [list(argument)] if what is op.ATOMIC_GROUP else []


def _shown(chars: Chars) -> str:
    text = "".join("<end>" if char == _END else chr(char) for char in sorted(chars)[:8])
    return repr(text)
