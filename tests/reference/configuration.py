"""The page of all settings, made from the JSON Schema of the configuration."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.config.schema import configuration_schema
from tests.reference.markdown import code, codes, page, table

Schema = Mapping[str, Any]

_INTRODUCTION = """\
A configuration is a TOML file. [config.example.toml](../../config.example.toml) shows every setting in place, and
`backstay check FILE` says everything that is wrong with a file. Editors read
[configuration.schema.json](configuration.schema.json). [Upstreams and routes](configuration-routes.md) have their own
page.

* A **duration** is a string with a unit: `"500ms"`, `"2s"`, `"10m"`, `"24h"`. A **timeout** is a duration over 0.
* A **size** is a number of bytes, or a string with a unit: `"64KiB"`, `"1MiB"`, `"1GiB"`, `"10MB"`.
* `"none"` switches an optional setting off.
* Every setting can come from the environment: `BACKSTAY_` and its path, with two underscores between the parts,
  such as `BACKSTAY_LISTEN__ADDRESS`. The command line wins over the environment, the environment over the file:
  see [environment variables](environment.md). `backstay config show` prints each value and its origin.
* **Since** is the first release that has the setting."""

_OF_ROUTES = """\
[Configuration](configuration.md) says how values are written, and where they can come from. What `[defaults]` sets
holds for every route that does not set it itself."""

_KINDS = {"string": "string", "integer": "integer", "number": "number", "boolean": "`true` or `false`"}


class Table(NamedTuple):
    """One table of the configuration: how its header is written, and its schema."""

    header: str
    schema: Schema
    about: str


def configuration() -> str:
    """Return the page of what belongs to the process."""
    return _page("Configuration", _INTRODUCTION, lambda header: not _is_of_routes(header))


def route_configuration() -> str:
    """Return the page of upstreams, circuits and routes."""
    return _page("Configuration of upstreams and routes", _OF_ROUTES, _is_of_routes)


def _is_of_routes(header: str) -> bool:
    return header.strip("[").partition(".")[0] in ("upstreams", "circuits", "principal", "defaults", "routes")


def _page(title: str, introduction: str, wanted: Callable[[str], bool]) -> str:
    found = [table for table in tables(configuration_schema()) if wanted(table.header)]
    sections = [block for table in found for block in _section(table)]
    return page(title, "`proxy/config/settings.py`, `routes.py` and `principal_table.py`", introduction, *sections)


def tables(schema: Schema) -> Iterator[Table]:
    """Yield every table once, in the order of the file; what a route inherits stands under `[defaults]`."""
    inherited = set(schema["$defs"]["RouteSettings"]["properties"])
    seen: set[str] = set()
    for header, name in _walk("", schema, schema["$defs"]):
        if name in seen:
            continue
        seen.add(name)
        found = schema["$defs"][name] if name else schema
        own = {key: field for key, field in found["properties"].items() if name != "RouteTable" or key not in inherited}
        yield Table(header, {**found, "properties": own}, found.get("description", ""))


def _walk(header: str, schema: Schema, defs: Schema) -> Iterator[tuple[str, str]]:
    """Yield the header and the name of each table, parents first; "" is the top level."""
    if not header:
        yield "", ""
    for key, field in schema["properties"].items():
        for name, form in _held(field):
            child = form.format(f"{header}.{key}" if header else key)
            yield child, name
            yield from _walk(child, defs[name], defs)


def _held(field: Schema) -> Iterator[tuple[str, str]]:
    """Yield the tables that a field holds: one, one for each name, or a list of them."""
    for kind in (field, *field.get("anyOf", ())):
        for form, place in (("{}", kind), ("{}.NAME", kind.get("additionalProperties")), ("[{}]", kind.get("items"))):
            if isinstance(place, dict) and "$ref" in place:
                yield place["$ref"].rpartition("/")[2], form


def _section(found: Table) -> Iterator[str]:
    yield f"## `[{found.header}]`" if found.header else "## Top level"
    if found.header:
        yield found.about
    required = found.schema.get("required", ())
    rows = [_row(name, field, name in required) for name, field in found.schema["properties"].items()]
    yield table(("setting", "type", "default", "meaning", "since"), rows)


def _row(name: str, field: Schema, required: bool) -> tuple[str, ...]:
    default = "required" if required else code(json.dumps(field["default"])) if "default" in field else ""
    return (code(name), _type(field), default, field["description"], field["x-since"])


def _type(field: Schema) -> str:
    """Return how a value is written, such as "integer ≥ 1" or "list of strings"."""
    if "anyOf" in field:
        kinds = [_type(kind) for kind in field["anyOf"] if "const" not in kind and kind.get("type") != "null"]
        words = [code(json.dumps(kind["const"])) for kind in field["anyOf"] if "const" in kind]
        return " or ".join([*kinds, *words])
    if "enum" in field:
        return codes(json.dumps(word) for word in field["enum"])
    if any(True for _ in _held(field)):
        return "tables" if field.get("type") in ("array", "object") else "table"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}{'' if 'enum' in field['items'] else 's'}"
    kind = field.get("format") or _KINDS.get(str(field.get("type")), field.get("title", "document"))
    return f"{kind}{_bounds(field)}"


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    return f" ≥ {low:g}" if low is not None else ""
