"""Translates pydantic's errors into the terms of TOML, each with what to write instead."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config import meant
from proxy.config.addresses import accepted_url, completed
from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.routes import RouteTable
from proxy.config.shape import ROOT, Place, cut, nearest, options, place, shown
from proxy.config.templates import joined_templates
from proxy.config.units import format_duration

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
            message, cure = _message_and_cure(details, keys, document)
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


def _message_and_cure(details: ErrorDetails, keys: Keys, document: Document) -> tuple[str, str]:
    context: Mapping[str, Any] = details.get("ctx", {})
    where = place(keys)
    if details["loc"][-1] == "[key]":
        return context["message"], f"write [{keys[0]}.sessions]"
    if details["type"] == "objection":
        return context["message"], _write(keys, _instead(details["input"], keys, where) or context["cure"])
    if details["type"] == "extra_forbidden":
        return _unknown(keys, details["input"], document)
    if details["type"] == "literal_error" and where is not None:
        return _choice(details["input"], keys, options(where.type))
    if details["type"] == "missing" and (whole := _whole(keys[:-1], document)) is not None:
        return "it is missing", whole
    value = "the value" if keys[-1] in _SECRET else shown(details["input"])
    sentence = _SENTENCES.get(details["type"])
    convertible = details["type"] in _OF_ANOTHER_TYPE and keys[-1] not in _SECRET
    converted = _meant(details["input"], where, keys[-1]) if convertible else None
    cure = _example(keys, where) if converted is None else _write(keys, converted)
    return sentence(value, context) if sentence else details["msg"], cure


def _instead(value: object, keys: Keys, where: Place | None) -> str | None:
    """Return, in TOML, what a value means in the place of a setting, for which its own text says too little."""
    if where is not None and where.optional and str(value).strip().lower() in meant.OFF:
        return '"none"'
    if keys[-1] == "address":
        return _address(value, where)
    if keys[-1] == "url" and isinstance(value, str) and len(several := meant.words(value)) > 1:
        urls = [accepted_url(each) for each in several]
        return None if None in urls else shown(urls)
    if isinstance(value, bool) and where is not None and where.type is float:
        default = None if where.field is None else where.field.get_default()
        known = _DURATIONS.get(keys[-1]) or (format_duration(default) if default else "1s")
        return shown(known)
    return None


def _meant(value: object, where: Place | None, key: object) -> str | None:
    """Return, in TOML, the value of the expected type that a value most likely means; `None` if unknown."""
    if isinstance(value, list) and value and key == "match":
        return shown(joined_templates(value))
    if isinstance(value, list) and len(value) == 1 and where is not None and where.type is str:
        value = value[0]
    if where is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()
    found: object = None
    if where.type is bool:
        found = _TRUTH.get(text.lower())
    elif where.type is int:
        whole = text.removesuffix(".0")
        found = int(whole) if whole.isascii() and whole.isdecimal() and len(whole) < 10 else None
    elif where.type is float:
        found = meant.share(value)
    elif where.type is str:
        return _address(value, where) if key == "address" else shown(text)
    elif key == "url":
        found = meant.url(text)
    elif where.is_list and isinstance(value, str):
        found = meant.words(text)
    elif where.is_table and key in _FIRST_KEY and value is not False:
        return f"{{ {_FIRST_KEY[key]} = {shown(value)}{', body = { }' if key == 'fallback' else ''} }}"
    elif where.is_table and value is False:
        return "{ max_retries = 0 }" if key == "retry" else '"none"'
    return None if found is None else shown(found)


def _address(value: object, where: Place | None) -> str | None:
    """Return, in TOML, the address that a value most likely means; what it lacks is as in the setting's default."""
    whole = completed(str(value), _usual(where))
    return None if whole is None else shown(whole)


def _usual(where: Place | None) -> str:
    return "" if where is None or where.field is None else str(where.field.get_default())


def _whole(keys: Keys, document: Document) -> str | None:
    """Return the setting of the address of a table that has its parts; `None` if it has none."""
    parts = {key: document.get(*keys, key) for key in document.names(*keys) if key in _PARTS_OF_ADDRESS}
    name, scheme, path = _ADDRESSES.get(keys[0], ("address", "", "")) if keys else ("", "", "")
    where = place((*keys, name))
    if not parts or where is None:
        return None
    host, port = meant.parts_of_address(str(document.get(*keys, name) or "").removesuffix(path))
    for value in map(str, parts.values()):
        host, port = (host, value) if value.isdecimal() else (value, port)
    text = f"{host}:{port}" if port else host
    if not scheme:
        return f"write address = {_address(text, where) or shown(_usual(where))}"
    url = meant.url(text, scheme)
    return None if url is None else f"write {name} = {shown(url + path)}"


def _unknown(keys: Keys, value: object, document: Document) -> tuple[str, str]:
    if keys[0] == "defaults" and len(keys) == 2 and keys[1] in RouteTable.model_fields:
        return "it belongs to each route", "write it into [[routes]]"
    key, tables = str(keys[-1]), [part for part in keys[:-1] if isinstance(part, str)]
    table = next((each for each in ("breaker", "fallback") if each in tables), tables[0] if tables else "")
    if key in _PARTS_OF_ADDRESS and (whole := _whole(keys[:-1], document)) is not None:
        return "there is no such setting", whole
    if (said := meant.foreign(table, key, value)) is not None:
        return said[0] or "there is no such setting", said[1]
    above = place(keys[:-1])
    near = nearest(key, above.fields, _ALIKE) if above else None
    if near is not None:
        return "there is no such setting", f"write {near}"
    own = _OF_ONE_RESPONSE.isdisjoint(tables)  # what they have in common with other tables is only a name
    others = list(meant.tables_with(key, ROOT)) if len(key) > 2 and own else []
    if len(others) == 1 and others[0]:
        return "there is no such setting here", f"write it into [{'.'.join(others[0])}]"
    return "there is no such setting", "remove it"


def _choice(value: object, keys: Keys, words: tuple[str, ...]) -> tuple[str, str]:
    if isinstance(value, bool):
        near = next((word for word in words if (word == "off") is not value), words[0])
    else:
        near = nearest(str(value).strip().lower(), words) or words[0]
    return f"{shown(value)} is not one of {', '.join(words)}", _write(keys, shown(near))


_PARTS_OF_ADDRESS = frozenset({"port", "host", "hostname", "bind"})  # settings of other programs
# The address of a table other than a listener: the setting, the scheme, and the path behind it.
_ADDRESSES: dict[str | int, tuple[str, str, str]] = {"upstreams": ("url", "http", ""), "store": ("url", "redis", "/0")}
_DURATIONS: dict[str | int, str] = {"reuse": "5s", "stale_if_error": "10m"}  # examples of what has no default
_OF_ONE_RESPONSE = frozenset({"fallback", "on_missing", "cors"})
_ALIKE = 0.75  # least similarity of a key to the setting that it means; with less, an equal ending would be enough
_OF_ANOTHER_TYPE = frozenset(
    {"bool_type", "int_type", "float_type", "string_type", "tuple_type", "model_type", "less_than_equal"}
)
# A table of which one setting was written in its place.
_FIRST_KEY: dict[object, str] = {"retry": "max_retries", "target": "ideal", "fallback": "status"}
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
    "issuer": 'issuer = "https://id.example"',
    "audience": 'audience = ["sessions"]',
}


def _example(keys: Keys, where: Place | None) -> str:
    """Return an example of the setting: by its name, the header of a table, or the default."""
    key = next(key for key in reversed(keys) if isinstance(key, str))
    if keys == ("principal",):  # the table of tables, not the setting of routes
        return "write [principal.user]"
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
