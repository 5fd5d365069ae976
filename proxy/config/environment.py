"""Settings from the environment: `BACKSTAY_` plus a path names any setting. `seed.py` has the seed document's names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from proxy.config.document import Document, nests_too_deeply
from proxy.config.objections import ConfigProblem, Keys, Objection
from proxy.config.seed import SWITCH
from proxy.config.shape import ROOT, Place, nearest

PREFIX = "BACKSTAY_"
# Kubernetes sets these in every pod beside a Service whose name begins with "backstay".
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z", re.ASCII)
_NAMED_PORT = "_SERVICE_PORT_"  # followed by the port's name


_LONGEST_INDEX = 9  # digits
_HINTS = 10  # variables that get a suggestion, which compares each with every setting
_FEW = 8  # routes, upstreams or circuits; up to this many, all their settings are compared
_NO_SETTINGS = frozenset({"BACKSTAY_COMPILE", SWITCH})  # of the build, which may still be set at run time; of the seed


def lay_environment(document: Document, environ: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Apply every `BACKSTAY_` variable to the document. Yield a problem for each that names no setting."""
    names, refused = _Names(document), 0
    for name in sorted(environ, key=lambda name: (len(name), name)):  # a table before its keys, route 9 before 10
        if name.startswith(PREFIX) and name not in _NO_SETTINGS and not _is_service_link(name):
            try:
                keys, where = _resolve(name, names)
                document.lay(keys, _read(environ[name], where), name)
                names.laid(keys)
            except Objection as objection:
                refused += 1
                near = _nearest(name.removeprefix(PREFIX), document) if refused <= _HINTS else None
                yield ConfigProblem("", objection.message, f"write {PREFIX}{near}" if near else objection.cure, name)


def _is_service_link(name: str) -> bool:
    return name.isidentifier() and (_NAMED_PORT in name[:-1] or _SERVICE_LINK.search(name) is not None)


class _Names:
    """The names in the document's tables and lists, indexed so that each lookup is fast."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._folded: dict[Keys, dict[str, str | int]] = {}

    def key(self, part: str, where: Place, keys: Keys) -> str | int:
        """Return the key in this table or list: a setting, a name, an index, or a route's operation."""
        if where.is_list and part.isdecimal() and len(part) <= _LONGEST_INDEX:
            index = int(part)
            if index <= len(self._document.items(*keys)):
                return index
        if keys not in self._folded:
            self._folded[keys] = _by_folded_name(where, keys, self._document)
        return self._folded[keys].get(_folded(part), part.lower())

    def laid(self, keys: Keys) -> None:
        """Update the index after a value was set at `keys`: a new name, or a route whose operation may have changed."""
        for size, key in enumerate(keys):
            if isinstance(key, str) and keys[:size] in self._folded:
                self._folded[keys[:size]].setdefault(_folded(key), key)
            elif isinstance(key, int) and keys[size + 1 :] in ((), ("operation",)):
                self._folded.pop(keys[:size], None)
        self._folded.pop(keys, None)


def _by_folded_name(where: Place, keys: Keys, document: Document) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for position, name in enumerate(_known(where, keys, document)):
        found.setdefault(_folded(name), position if where.is_list else name)
    return found


def _resolve(name: str, names: _Names) -> tuple[Keys, Place]:
    """Return the keys that a variable's name stands for. `_` also matches `-` in names and operations."""
    keys: Keys = ()
    where = ROOT
    for part in name.removeprefix(PREFIX).split("__"):
        key = names.key(part, where, keys)
        below = where.below(key) if part else None
        if below is None:
            raise Objection("there is no such setting", "remove it")
        keys, where = (*keys, key), below
    return keys, where


def _known(where: Place, keys: Keys, document: Document) -> tuple[str, ...]:
    if where.is_list:
        items = document.items(*keys)
        return tuple(str(item.get("operation", "")) if isinstance(item, dict) else "" for item in items)
    return tuple(where.fields) or document.names(*keys)


def _nearest(path: str, document: Document) -> str | None:
    """Return the most similar variable, without its prefix."""
    return nearest(path, _variables(ROOT, (), document, path.lower().split("__")))


def _variables(where: Place, keys: Keys, document: Document, parts: Sequence[str]) -> Iterator[str]:
    """Yield every setting as a variable's path; of upstreams, circuits and routes only those with similar names."""
    known = _known(where, keys, document)
    for position, name in _worth_a_look(where, known, parts) if where.is_table or where.is_list else ():
        key = position if where.is_list else name
        below = where.below(key)
        if name and below is not None:
            yield from _variables(below, (*keys, key), document, parts)
    if keys and not where.is_table:
        yield "__".join(_spelt(keys, document))


def _worth_a_look(where: Place, known: tuple[str, ...], parts: Sequence[str]) -> list[tuple[int, str]]:
    """Return the candidates and their positions: every setting, but of many names only the most similar."""
    numbered = list(enumerate(known))
    if where.fields or len(known) <= _FEW:
        return numbered
    near = {nearest(part.replace("_", "-"), known) for part in parts[:_FEW]}
    return [(position, name) for position, name in numbered if name in near]


def _spelt(keys: Keys, document: Document) -> Iterator[str]:
    for position, key in enumerate(keys):
        operation = document.get(*keys[:position], key, "operation") if isinstance(key, int) else key
        yield str(operation).upper().replace("-", "_")


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _read(text: str, where: Place) -> object:
    """Return the value that the text would have in TOML: a string where one is expected, else true, 3 or a JSON value.

    Surrounding space is removed: `echo` and editors end a secret with a newline.
    """
    text = text.strip()
    if where.type is str:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if nests_too_deeply(value) else value
