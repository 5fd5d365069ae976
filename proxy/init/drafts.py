"""Drafts of routes: their settings as text, each with a comment that says where it comes from."""

import json
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.config.doubts import PATIENCE_S, slow_word
from proxy.config.routes import RouteSettings
from proxy.config.templates import Template
from proxy.config.units import format_duration

GUESS: Final = "guess: "
_ODD = re.compile(r"[^a-z0-9]+")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST = 64  # characters of an operation's name
_RESERVED = "passthrough"


class DraftSetting(NamedTuple):
    """One line of a table. `off`: a suggestion, which is written as a comment."""

    key: str
    value: object
    note: str = ""
    off: bool = False

    @property
    def text(self) -> str:
        """Return the line without its note."""
        return f"{'# ' if self.off else ''}{self.key} = {toml(self.value)}"


class Draft(NamedTuple):
    """A route: comments above it, the name and note of its operation, what it matches, and its other settings."""

    operation: str
    template: Template
    settings: tuple[DraftSetting, ...] = ()
    notes: tuple[str, ...] = ()
    operation_note: str = ""
    match_note: str = ""

    @property
    def lines(self) -> tuple[DraftSetting, ...]:
        """Return every line of the table."""
        match = f"{self.template.method} {self.template.path}"
        first = (
            DraftSetting("operation", self.operation, self.operation_note),
            DraftSetting("match", match, self.match_note),
        )
        return (*first, *self.settings)


class Drafts(NamedTuple):
    """Routes, and a sentence for each operation that has none."""

    routes: tuple[Draft, ...] = ()
    left_out: tuple[str, ...] = ()


class NameList:
    """Gives each route an operation of its own."""

    def __init__(self) -> None:
        self._taken = {_RESERVED: 1}  # each name, and the last number that was tried with it

    def fresh(self, text: str) -> str:
        """Return a text as an operation's name: lower case, hyphens, and a number if the name is taken."""
        name = kebab(text)[:_LONGEST].strip("-") or "operation"
        fresh = name
        while fresh in self._taken:
            self._taken[name] += 1
            suffix = f"-{self._taken[name]}"
            fresh = name[: _LONGEST - len(suffix)].rstrip("-") + suffix
        self._taken[fresh] = 1
        return fresh


def kebab(text: str) -> str:
    """Return `load-session` for `loadSession`, `load_session` and `Load session`."""
    return _ODD.sub("-", _CAPITAL.sub("-", text).lower()).strip("-")


def with_timeout(draft: Draft) -> Draft:
    """Return the route with a timeout where `check` would doubt the default, by a word such as `reports`."""
    word = slow_word(draft.template.path, draft.operation)
    if word is None or any(setting.key == "total_timeout" for setting in draft.settings):
        return draft
    default = format_duration(RouteSettings().total_timeout)
    note = f'{GUESS}"{word}" may take long; the default is {default}'
    setting = DraftSetting("total_timeout", format_duration(PATIENCE_S), note)
    return draft._replace(settings=(*draft.settings, setting))


def without_repetitions(drafts: Iterable[Draft], left_out: Iterable[str] = ()) -> Drafts:
    """Return the routes, and in `left_out` those that match the same requests as an earlier one."""
    seen: dict[str, str] = {}
    routes: list[Draft] = []
    missing = list(left_out)
    for draft in drafts:
        first = next((seen[shape] for shape in draft.template.shapes if shape in seen), None)
        if first is None:
            routes.append(draft)
            seen |= dict.fromkeys(draft.template.shapes, draft.operation)
        else:
            text = f"{draft.template.method} {draft.template.path}"
            missing.append(f"{text} ({draft.operation}): {first} matches the same requests")
    return Drafts(tuple(routes), tuple(missing))


def toml(value: object) -> str:
    """Return a value in TOML. Strings are basic strings, whose escapes are those of JSON except for DEL."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(each)}' for key, each in value.items())} }}"
    return json.dumps(value).replace("\x7f", "\\u007f")
