"""The expected type of every key, found by walking the models, and the display of values in messages."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from proxy.config.field_types import Section
from proxy.config.objections import Keys
from proxy.config.settings import Settings

_LONGEST_WORD = 200  # characters; similarity takes quadratic time, and no name is that long


class Place(NamedTuple):
    """The expected value at a key: its type, and the field that declares it, if any."""

    type: Any
    field: FieldInfo | None = None

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """Return the keys of the table at this place; none if it is not a table with fixed keys."""
        return self.type.model_fields if _is_section(self.type) else {}

    @property
    def is_table(self) -> bool:
        """Tell whether the value is a TOML table."""
        return _is_section(self.type) or get_origin(self.type) is dict

    @property
    def optional(self) -> bool:
        """Tell whether the value may be `"none"`."""
        return self.field is not None and type(None) in get_args(self.field.annotation)

    @property
    def is_list(self) -> bool:
        """Tell whether the value is a TOML array."""
        return get_origin(self.type) is tuple

    def below(self, key: str | int) -> "Place | None":
        """Return the place of `key` in this table or list; `None` if there is none."""
        if isinstance(key, int):
            return Place(_plain(get_args(self.type)[0])) if self.is_list else None
        if get_origin(self.type) is dict:
            return Place(get_args(self.type)[1])
        field = self.fields.get(key)
        return Place(_plain(field.annotation), field) if field else None


ROOT = Place(Settings)


def place(keys: Keys) -> Place | None:
    """Return the place at `keys`; `None` if there is no such setting."""
    found: Place | None = ROOT
    for key in keys:
        found = found.below(key) if found else None
    return found


def options(kind: Any) -> tuple[str, ...]:
    """Return the words that a setting of this type may have; none if it is not a choice of words."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def nearest(word: object, words: Iterable[str], alike: float = 0.6) -> str | None:
    """Return the most similar one of `words`; `None` if none reaches the similarity `alike`, from 0 to 1."""
    text = str(word)
    near = get_close_matches(text, list(words), 1, alike) if len(text) <= _LONGEST_WORD else []
    return near[0] if near else None


def shown(value: object) -> str:
    """Return a value in TOML's form on one line, at most 200 characters, without the credentials of a URL."""
    if isinstance(value, dict):
        return "a table"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:  # TOML's dates have no JSON form
        text = str(value)
    return cut(text)


def cut(text: str) -> str:
    """Return at most 200 characters of a text, without the credentials of a URL."""
    text = without_credentials(text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def without_credentials(text: str, instead: str = "...") -> str:
    """Return a text with `instead` in place of the user and password of a URL (RFC 3986 section 3.2.1).

    They end at the last "@": a password that is not percent-encoded may contain "@", "/" and spaces. Text between two
    URLs is hidden with them.
    """
    before, slashes, rest = text.partition("//")
    _, at, host = rest.rpartition("@")
    return f"{before}{slashes}{instead}{at}{host}" if at else text


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _plain(annotation: Any) -> Any:
    """Return `T` for `T | None`, and without the validators of an `Annotated`."""
    if hasattr(annotation, "__metadata__"):
        return _plain(annotation.__origin__)
    if get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation
