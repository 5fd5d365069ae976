"""The JSON Schema of the configuration, generated from the models. Descriptions are the docstrings of the settings.

The schema describes the form in TOML: a duration is a string with a unit, and "none" is an absent value. Nothing here
runs when a sidecar starts: the docstrings are read from the source when a schema is requested.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel

from proxy.config.routes import PASSTHROUGH
from proxy.config.settings import Settings
from proxy.config.units import format_duration, format_size

FIRST_RELEASE: Final = "0.1.0"
_SINCE = re.compile(r" ?Since (\d++\.\d++\.\d++)\.$")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file, with each setting's description and default."""
    schema = schema_of(Settings)
    route = schema["$defs"]["RouteTable"]
    route["required"] = [name for name in route["required"] if name != "upstream"]  # default: the first
    unmatched = schema["$defs"]["Passthrough"]["properties"]
    for name in unmatched.keys() - set(PASSTHROUGH):
        del unmatched[name]
    return {"title": "Configuration of Backstay", **schema}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a model, described by the docstrings of its fields.

    Raise LookupError for a field without a docstring of its own or of its table.
    """
    schema = {"$schema": _DIALECT, **model.model_json_schema()}
    _describe(schema, model)
    return describe(schema, [model])


def describe(schema: dict[str, Any], models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Return `schema` with a description for every field of its definitions: of `models` and of their nested models.

    `x-since` is the first release with the field: the last sentence of a docstring may be "Since 1.2.3.". Raise
    LookupError for a field without a docstring.
    """
    tables = {table.__name__: table for model in models for table in _tables(model)}
    for name, table in schema.get("$defs", {}).items():
        _describe(table, tables[name])
    return schema


def _tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and every model nested in it."""
    yield model
    for field in model.model_fields.values():
        for kind in _kinds(field.annotation):
            yield from _tables(kind)


def _kinds(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation, such as `Target` in `Target | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in (getattr(annotation, "__origin__", None), *getattr(annotation, "__args__", ())):
        yield from _kinds(part) if part is not None and part is not annotation else ()


def _describe(table: dict[str, Any], model: type[BaseModel]) -> None:
    docs = field_docs(model)
    table.pop("title", None)
    for name, field in table["properties"].items():
        field.pop("title", None)
        text = docs.get(name) or _table_doc(model, name)
        since = _SINCE.search(text)
        field["description"] = _SINCE.sub("", text)
        field["x-since"] = since[1] if since else FIRST_RELEASE
        _say_default_as_written(field)


def _table_doc(model: type[BaseModel], name: str) -> str:
    held = model.model_fields[name].annotation
    if isinstance(held, type) and issubclass(held, BaseModel) and held.__doc__:
        return held.__doc__
    raise LookupError(f"{model.__name__}.{name} has no docstring: write one sentence under it, with its unit")


def _say_default_as_written(field: dict[str, Any]) -> None:
    """Write a default in TOML's form. A table's default is omitted: its own settings have defaults."""
    default = field.get("default")
    kinds = [kind.get("format", "") for kind in (field, *field.get("anyOf", ()))]
    optional = {"const": "none"} in field.get("anyOf", ())
    if isinstance(default, dict) or (default is None and not optional):
        field.pop("default", None)
    elif default is None:
        field["default"] = "none"
    elif {"duration", "timeout"} & set(kinds):
        field["default"] = format_duration(default)
    elif "size" in kinds:
        field["default"] = format_size(default)


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring under each field of a model and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            docs |= _docs(base)
    return docs


def _docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the string literals that directly follow a field. Python discards them, so the module is parsed."""
    module = ast.parse(inspect.getsource(inspect.getmodule(model) or model))
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == model.__name__)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
