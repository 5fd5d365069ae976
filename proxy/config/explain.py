"""Translates pydantic's errors into the terms of TOML, each with what to write instead."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.routes import RouteTable
from proxy.config.shape import Place, cut, nearest, options, place, shown

_SECRET = frozenset({"token"})
_UNSAID = frozenset({"default_factory_not_called"})  # always a consequence of another error


def problems_of(error: ValidationError, document: Document) -> Iterator[ConfigProblem]:
    """Yield a problem for each error in the written configuration.

    Errors in inherited settings are omitted: they are reported once, for `[defaults]`.
    """
    for details in error.errors(include_url=False):
        kind = details["type"]
        keys = key_of(details) if kind == "missing" else _as_written(key_of(details), document)
        written = keys[:-1] if kind == "missing" else keys
        if kind not in _UNSAID and document.has(written) and not _echoes(details, document, keys):
            message, cure = _message_and_cure(details, keys)
            yield ConfigProblem(dotted(keys), cut(message), cut(cure), document.where(keys))


def key_of(details: ErrorDetails) -> Keys:
    """Return the key of an error. pydantic marks a table's own names with `[key]`."""
    return tuple(key for key in details["loc"] if key != "[key]")


def _as_written(keys: Keys, document: Document) -> Keys:
    """Return the key of a single value that was written in place of a list."""
    return keys[:-1] if isinstance(keys[-1], int) and isinstance(document.get(*keys[:-1]), str) else keys


def _echoes(details: ErrorDetails, document: Document, keys: Keys) -> bool:
    """Tell whether a list is too short only because its items were refused."""
    return details["type"] == "too_short" and document.get(*keys) != []


def _message_and_cure(details: ErrorDetails, keys: Keys) -> tuple[str, str]:
    context: Mapping[str, Any] = details.get("ctx", {})
    where = place(keys)
    if details["loc"][-1] == "[key]":
        return context["message"], f"write [{keys[0]}.sessions]"
    if details["type"] == "objection":
        return context["message"], _write(keys, context["cure"])
    if details["type"] == "extra_forbidden":
        return _unknown(keys)
    if details["type"] == "literal_error" and where is not None:
        return _choice(details["input"], keys, options(where.type))
    value = "the value" if keys[-1] in _SECRET else shown(details["input"])
    sentence = _SENTENCES.get(details["type"])
    meant = _meant(details["input"], where) if details["type"] in _OF_ANOTHER_TYPE else None
    cure = _example(keys, where) if meant is None else _write(keys, shown(meant))
    return sentence(value, context) if sentence else details["msg"], cure


def _meant(value: object, where: Place | None) -> object:
    """Return the value of the expected type that a value most likely means; `None` if unknown."""
    if where is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()
    if where.type is bool:
        return _TRUTH.get(text.lower())
    if where.type is int and text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    return [part.strip() for part in text.split(",")] if where.is_list and isinstance(value, str) else None


def _unknown(keys: Keys) -> tuple[str, str]:
    if keys[0] == "defaults" and len(keys) == 2 and keys[1] in RouteTable.model_fields:
        return "it belongs to each route", "write it into [[routes]]"
    above = place(keys[:-1])
    near = nearest(keys[-1], above.fields) if above else None
    return "there is no such setting", f"write {near}" if near else "remove it"


def _choice(value: object, keys: Keys, words: tuple[str, ...]) -> tuple[str, str]:
    near = nearest(str(value).strip().lower(), words) or words[0]
    return f"{shown(value)} is not one of {', '.join(words)}", _write(keys, shown(near))


_OF_ANOTHER_TYPE = frozenset({"bool_type", "int_type", "tuple_type"})
_TRUTH = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_SENTENCES: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "missing": lambda _, __: "it is missing",
    "bool_type": lambda value, _: f"{value} is not true or false",
    "int_type": lambda value, _: f"{value} is not a whole number",
    "float_type": lambda value, _: f"{value} is not a number",
    "string_type": lambda value, _: f"{value} is not a string",
    "model_type": lambda value, _: f"{value} is not a table",
    "dict_type": lambda value, _: f"{value} is not a table",
    "tuple_type": lambda value, _: f"{value} is not a list",
    "string_too_short": lambda _, __: "it is empty",
    "too_short": lambda _, __: "it is empty",
    "greater_than_equal": lambda value, context: f"{value} is less than {context['ge']:g}",
    "less_than_equal": lambda value, context: f"{value} is more than {context['le']:g}",
}

_EXAMPLES: dict[str, str] = {
    "routes": "[[routes]]",
    "operation": 'operation = "session-create"',
    "match": 'match = "GET /api/sessions/{report_id}"',
    "subject": 'subject = "path:report_id"',
    "on_conflict": 'on_conflict = "GET /api/sessions/{subject}"',
    "circuit": 'circuit = "restoration"',
    "url": 'url = "http://127.0.0.1:8000"',
    "request": 'request = "POST /api/sessions"',
    "body": "body = { }",
    "token": 'token = "..."',
    "token_file": 'token_file = "/run/secrets/backstay"',
    "allow_origins": 'allow_origins = ["https://app.example"]',
    "principal": 'principal = ["authorization", "cookie:sid"]',
}


def _example(keys: Keys, where: Place | None) -> str:
    """Return an example of the setting: by its name, the header of a table, or the default."""
    key = next(key for key in reversed(keys) if isinstance(key, str))
    if key in _EXAMPLES:
        return f"write {_EXAMPLES[key]}"
    if where is None or where.is_table:
        return f"write {key} = {{ }}" if any(isinstance(part, int) for part in keys) else f"write [{dotted(keys)}]"
    if where.field is None:
        return 'write "..."'
    default = where.field.get_default()
    return _write(keys, shown("none" if default is None else default))


def _write(keys: Keys, value: str) -> str:
    return f"write {keys[-1]} = {value}" if isinstance(keys[-1], str) else f"write {value}"
