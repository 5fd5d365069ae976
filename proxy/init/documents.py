"""Read an OpenAPI document in JSON or YAML. Each value knows its place, so that an error can name it."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from proxy.config.objections import ConfigError, ConfigProblem
from proxy.config.shape import shown
from proxy.errors import StartError

_MOST_REFERENCES = 32  # one after another; more refer to each other in a circle
VERSIONS = ("3.0", "3.1")


class DocumentError(ConfigError):
    """Refuse a document. The text names the file, the place in it, what is wrong, and the cure."""

    def __init__(self, file: str, place: str, message: str, cure: str) -> None:
        super().__init__([ConfigProblem(place, message, cure, file)])


class Node:
    """A value of the document, with references resolved, and its place, such as `paths./sessions.get`."""

    __slots__ = ("_file", "_root", "place", "value")

    def __init__(self, file: str, root: Any, value: Any, place: str = "") -> None:
        """Take the file's name, the whole document, and a value in it. Raise `DocumentError` for a dead reference."""
        self._file = file
        self._root = root
        self.place = place
        self.value = self._resolved(value)

    def refusal(self, message: str, cure: str) -> DocumentError:
        """Return the error for this place."""
        return DocumentError(self._file, self.place, message, cure)

    def get(self, key: str) -> "Node | None":
        """Return the value of a key; `None` if it is absent or null. Raise `DocumentError` if this is not a table."""
        value = self.table().get(key)
        return None if value is None else self._below(value, f".{key}")

    def table(self) -> dict[str, Any]:
        """Return this value, which must be a table. Raise `DocumentError`."""
        if not isinstance(self.value, dict):
            raise self.refusal(f"{shown(self.value)} is not a table", "write keys and values below it")
        return self.value

    def items(self) -> Iterator["Node"]:
        """Yield the items of this value, which must be a list. Raise `DocumentError`."""
        if not isinstance(self.value, list):
            raise self.refusal(f"{_brief(self.value)} is not a list", "write a list")
        for index, value in enumerate(self.value):
            yield self._below(value, f"[{index}]")

    def text(self) -> str:
        """Return this value, which must be a string. Raise `DocumentError`."""
        if not isinstance(self.value, str):
            raise self.refusal(f"{_brief(self.value)} is not a string", "write it in quotes")
        return self.value

    def text_at(self, key: str) -> str:
        """Return the string of a key, "" if it is absent. Raise `DocumentError`."""
        found = self.get(key)
        return "" if found is None else found.text()

    def all_of(self, key: str) -> Iterator["Node"]:
        """Yield the items of the list at a key; none if it is absent. Raise `DocumentError`."""
        found = self.get(key)
        if found is not None:
            yield from found.items()

    def _below(self, value: Any, step: str) -> "Node":
        return Node(self._file, self._root, value, f"{self.place}{step}".removeprefix("."))

    def _resolved(self, value: Any) -> Any:
        for _ in range(_MOST_REFERENCES):
            if not isinstance(value, dict) or "$ref" not in value:
                return value
            value = self._referred(value["$ref"])
        raise self.refusal("the reference leads to itself", "write the value itself in one of the places")

    def _referred(self, reference: object) -> Any:
        if not isinstance(reference, str):
            raise self.refusal(f"$ref {shown(reference)} is not a string", 'write $ref: "#/components/..."')
        if reference != "#" and not reference.startswith("#/"):
            message = f"$ref {shown(reference)} leads to another file"
            raise self.refusal(message, "bundle the document into one file first, as `redocly bundle` does")
        found = self._root
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            found = _child(found, key)
            if found is None:
                raise self.refusal(f"$ref {shown(reference)} leads nowhere", f"define {shown(key)}, or correct it")
        return found


def read_openapi(content: bytes, file: str) -> Node:
    """Return the root of an OpenAPI document of version 3.0 or 3.1. Raise `DocumentError`.

    Raise `StartError` for YAML if ruamel.yaml is not installed.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(file, "", "it is not UTF-8", "save it in UTF-8") from None
    try:
        data = _json(text, file) if text.lstrip().startswith("{") else _yaml(text, file)
    except RecursionError:
        raise DocumentError(file, "", "it is nested too deeply", "name an OpenAPI document") from None
    _refuse_other_documents(data, file)
    return Node(file, data, data)


def _refuse_other_documents(data: Any, file: str) -> None:
    if not isinstance(data, dict) or not {"openapi", "swagger"} & data.keys():
        raise DocumentError(file, "", "it is not an OpenAPI document", 'one begins with openapi: "3.1.0"')
    if "openapi" not in data:
        cure = "convert it to OpenAPI 3 first, as `npx swagger2openapi` does"
        raise DocumentError(file, "swagger", f"{shown(data['swagger'])} is an older format", cure)
    version = str(data["openapi"])
    if not f"{version}.".startswith(tuple(f"{known}." for known in VERSIONS)):
        message = f"{shown(version)} is not a version that is read here: {' and '.join(VERSIONS)} are"
        raise DocumentError(file, "openapi", message, "convert the document, or write the routes by hand")


def _json(text: str, file: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        at = f"{file}:{error.lineno}"
        raise DocumentError(at, "", f"not JSON: {error.msg.lower()}", f"correct column {error.colno}") from None
    except _RepeatedKeyError as repeated:
        raise DocumentError(
            file, "", f"the key {shown(repeated.key)} stands twice in one table", "remove one"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise DocumentError(file, "", f"not JSON: {error}", "correct the number") from None


class _RepeatedKeyError(Exception):
    """Report a key that one object of JSON has twice: parsers would keep the last one silently."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _RepeatedKeyError(key)
        table[key] = value
    return table


def _yaml(text: str, file: str) -> Any:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ImportError:
        raise StartError("a document in YAML needs ruamel.yaml: pip install 'backstay[inject]'") from None
    try:
        return _with_text_keys(YAML(typ="safe", pure=True).load(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{file}:{mark.line + 1}" if mark is not None else file
        message = str(error.problem or error.context or "it cannot be read").partition("\n")[0]
        raise DocumentError(at, "", f"not YAML: {message}", "correct the line") from None
    except (YAMLError, ValueError) as error:
        raise DocumentError(file, "", f"not YAML: {str(error).partition(chr(10))[0]}", "correct it") from None


def _with_text_keys(data: Any) -> Any:
    """Return the data with a string for each key: YAML has numbers as keys, as in `responses`. Aliases stay shared."""
    seen: dict[int, Any] = {}

    def made(value: Any) -> Any:
        if not isinstance(value, dict | list):
            return value
        if id(value) not in seen:
            empty: Any = {} if isinstance(value, dict) else []
            seen[id(value)] = empty
            if isinstance(value, dict):
                empty.update({str(key): made(each) for key, each in value.items()})
            else:
                empty.extend(made(each) for each in value)
        return seen[id(value)]

    return made(data)


def _child(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
        return value[int(key)]
    return None


def _brief(value: object) -> str:
    return "a list" if isinstance(value, list) else shown(value)
