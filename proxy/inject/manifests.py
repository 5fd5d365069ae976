"""Read and write YAML and JSON documents. An unchanged document keeps its text; a changed one keeps its style.

YAML keeps comments and order. Line ends and a byte order mark are kept too.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedKeyMap, CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from proxy.inject.json_layout import read_json, write_json

# A line that begins with `---` is always a separator: the lines of a block scalar are indented.
_SEPARATOR = re.compile(r"^---(?:[ \t][^\n]*)?(?:\n|\Z)", re.MULTILINE)
_BRACKET = re.compile(r"[\[\]{}]")
_MARK = "\ufeff"  # the byte order mark, which some editors write
_TEMPLATE = "{{"
_DEEPEST = 64  # levels; no real manifest has 20
_WRITTEN_NULL = re.compile(r": null$", re.MULTILINE)


class InjectError(Exception):
    """Refuse an injection. The text is one line that says what cannot be done, and what to write instead."""


class Manifest:
    """One document: its text, its data, and whether the data has changed."""

    __slots__ = ("_is_json", "_text", "changed", "data")

    def __init__(self, text: str, first_line: int) -> None:
        """Parse a document whose first line has the number `first_line` in the stream. Raise `InjectError`."""
        self._text = text
        self.changed = False
        _refuse_nesting(text, first_line)
        self.data: Any = read_json(text)
        self._is_json = self.data is not None
        if not self._is_json:
            self.data = _parsed(text, first_line)

    def __str__(self) -> str:
        if not self.changed:
            return self._text
        if self._is_json:
            return write_json(self.data, self._text)
        written = StringIO()
        _yaml(self._text).dump(self.data, written)
        return written.getvalue()

    @property
    def objects(self) -> Iterator[CommentedMap]:
        """Yield the objects of the document: the document itself, or the items of a List."""
        if not isinstance(self.data, CommentedMap):
            return
        if str(self.data.get("kind", "")).endswith("List") and isinstance(self.data.get("items"), CommentedSeq):
            yield from (item for item in self.data["items"] if isinstance(item, CommentedMap))
        else:
            yield self.data


class ManifestStream:
    """All documents, and the separators between them."""

    __slots__ = ("_crlf", "_mark", "_pieces", "documents")

    def __init__(self, text: str) -> None:
        """Split a stream into documents and parse them. Raise `InjectError`."""
        self._pieces: list[str | Manifest] = []
        self._mark = _MARK if text.startswith(_MARK) else ""
        text = text.removeprefix(_MARK)
        self._crlf = 0 < text.count("\n") == text.count("\r\n")
        text = text.replace("\r\n", "\n")
        end = 0
        for found in [*_SEPARATOR.finditer(text), None]:
            begin = found.start() if found else len(text)
            self._pieces.append(Manifest(text[end:begin], text.count("\n", 0, end)))
            if found:
                self._pieces.append(found[0])
                end = found.end()
        self.documents = [piece for piece in self._pieces if isinstance(piece, Manifest)]

    def __str__(self) -> str:
        text = "".join(map(str, self._pieces))
        return self._mark + (text.replace("\n", "\r\n") if self._crlf else text)


def snippet(text: str) -> Any:
    """Parse YAML text of the sidecar's own and return nodes that keep its style."""
    return YAML().load(text)


def insert(table: CommentedMap, key: str, value: object, first: int = 0) -> None:
    """Insert a key at the first position from `first` on that has no comment before it, else at the end."""
    keys = list(table)
    free = (at for at in range(first, len(keys)) if not _comment_before(table, keys, at))
    table.insert(next(free, len(keys)), key, value)


def _comment_before(table: CommentedMap, keys: list[str], at: int) -> bool:
    if at == 0:
        return bool(table.ca.comment and table.ca.comment[1])
    return _trails(table, keys[at - 1])


def _trails(node: Any, key: str | int) -> bool:
    """Tell whether comment lines follow a value. The parser attaches them to the last leaf before them."""
    value = node[key]
    if isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        return _trails(value, list(value)[-1] if isinstance(value, CommentedMap) else len(value) - 1)
    tokens = node.ca.items.get(key) or []
    return any("#" in token.value.partition("\n")[2] for token in tokens if hasattr(token, "value"))


def _refuse_nesting(text: str, first_line: int) -> None:
    try:
        if (end := _brackets_end(text)) is not None:
            _refuse_deep(text[:end] + "\n")  # usually sufficient, and fast
            _refuse_deep(text)
    except RecursionError:
        raise _too_deep(first_line) from None


def _too_deep(first_line: int) -> InjectError:
    return InjectError(f"line {first_line + 1}: this document is nested too deeply")


def _parsed(text: str, first_line: int) -> Any:
    try:
        data = _yaml(text).load(text)
    except RecursionError:
        raise _too_deep(first_line) from None
    except YAMLError as error:
        if _TEMPLATE in text:
            raise _template(text, first_line) from None
        raise InjectError(f"not YAML: {_described(error, first_line)}") from None
    if _TEMPLATE in text and _has_braces_as_key(data):
        raise _template(text, first_line)
    if data is not None and not isinstance(data, CommentedMap):
        raise InjectError(f"line {first_line + 1}: not a Kubernetes object, but {type(data).__name__}")
    return data


def _template(text: str, first_line: int) -> InjectError:
    line = first_line + text.count("\n", 0, text.index(_TEMPLATE)) + 1
    return InjectError(f"line {line}: this is a template: render it first, as in `helm template . | backstay inject -`")


def _has_braces_as_key(node: Any) -> bool:
    """Tell whether a mapping is a key: `{{ value }}` without quotes is one in YAML."""
    if isinstance(node, CommentedMap):
        return any(isinstance(key, CommentedKeyMap) or _has_braces_as_key(value) for key, value in node.items())
    return isinstance(node, CommentedSeq) and any(map(_has_braces_as_key, node))


def _brackets_end(text: str) -> int | None:
    """Return where the nesting of brackets first exceeds `_DEEPEST`, or `None`. Counts strings and comments too."""
    deep = 0
    for found in _BRACKET.finditer(text):
        deep = deep + 1 if found[0] in "[{" else max(0, deep - 1)
        if deep > _DEEPEST:
            return found.end()
    return None


def _refuse_deep(text: str) -> None:
    """Raise RecursionError for more than `_DEEPEST` levels of nesting, on which the parser takes quadratic time."""
    deep = 0
    with suppress(YAMLError):  # other errors are reported where the data is read
        for event in YAML().parse(text):
            deep += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if deep > _DEEPEST:
                raise RecursionError


def _described(error: YAMLError, first_line: int) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {first_line + mark.line + 1}: {problem}" if mark else str(problem)


def _yaml(text: str) -> YAML:
    """Return a reader and writer that formats lists and nulls as the text does."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 2**20  # never fold a line that was not folded
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    null_text = "null" if _WRITTEN_NULL.search(text) else ""
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", null_text)
    )
    offset = _dash_offset(text)
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml


def _dash_offset(text: str) -> int:
    """Return how far the text indents the dashes of a list below its key; 2 if there is no such list."""
    key_at = -1
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        at = len(line) - len(bare)
        if key_at >= 0 and bare.startswith("- "):
            return max(at - key_at, 0)
        if bare.strip(" \t") and not bare.lstrip(" \t").startswith("#"):
            key_at = at if bare[0] not in "-\t" and bare.rstrip(" \t").endswith(":") else -1
    return 2
