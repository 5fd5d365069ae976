"""The page of the audit trail's fields, made from the models of its lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proxy.audit.record_schema import ALONE, KINDS, OUTCOMES, WHY, Line, record_schema
from tests.reference.markdown import code, codes, page, table

Schema = Mapping[str, Any]
_INTRODUCTION = """\
An audit trail has one JSON object a line. Tools read [audit-record.schema.json](audit-record.schema.json). A field can
be added in any release; the number in `v` grows when the meaning of a field changes."""
_WORDS = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "date-time": "time",
}


def audit_record() -> str:
    """Return the page of a finished request."""
    defs, kind = record_schema()["$defs"], KINDS[0].__name__
    sections = ["## Every line", _fields(defs[kind], Line.model_fields), *_line(kind, defs)]
    for title, words in (("outcome", OUTCOMES), ("attempts[].why", WHY), ("metadata.alone", ALONE)):
        sections += [f"## Values of `{title}`", table(("value", "meaning"), ((code(w), words[w]) for w in words))]
    return page("Audit record", "`proxy/audit/record_schema.py`", _INTRODUCTION, *sections)


def other_lines() -> str:
    """Return the page of the lines that are no request's record."""
    defs = record_schema()["$defs"]
    sections = [block for kind in KINDS[1:] for block in _line(kind.__name__, defs)]
    return page("Other lines of the audit trail", "`proxy/audit/record_schema.py`", _OF_OTHERS, *sections)


_OF_OTHERS = """\
Beside one [record](audit-record.md) for each finished request, a trail has these lines. Each also has the fields of
every line: `v`, `seq`, `ts`, `prev` and `hash`."""


def _line(kind: str, defs: Schema) -> Iterator[str]:
    line = defs[kind]
    yield f"## {_title(kind)}"
    yield line["description"]
    yield _fields(line, [name for name in line["properties"] if name not in Line.model_fields])
    for name, field in line["properties"].items():
        for ref in _refs(field):
            yield f"### `{name}{'[]' if field.get('type') == 'array' else ''}` of a {_title(kind).lower()}"
            yield _fields(defs[ref], defs[ref]["properties"])


def _refs(field: Schema) -> Iterator[str]:
    for kind in (field, *field.get("anyOf", ()), field.get("items", {})):
        if "$ref" in kind:
            yield kind["$ref"].rpartition("/")[2]


def _fields(found: Schema, names: Iterable[str]) -> str:
    """Return the table of an object's fields. One that is not required is absent where it does not apply."""
    fields, required = found["properties"], found.get("required", ())
    rows = [(code(name), _type(fields[name], name in required), fields[name]["description"]) for name in names]
    return table(("field", "type", "meaning"), rows)


def _type(field: Schema, required: bool = True) -> str:
    if "anyOf" in field:
        kinds = [_type(kind) for kind in field["anyOf"]]
        return " or ".join(kinds if required else [*(kind for kind in kinds if kind != "`null`"), "absent"])
    if "enum" in field:
        return codes(field["enum"])
    if "const" in field:
        return code(str(field["const"]).lower() if isinstance(field["const"], bool) else field["const"])
    if field.get("type") == "array":
        return "list of objects" if "$ref" in field["items"] else f"list of {_type(field['items'])}s"
    return _WORDS.get(field.get("format", field.get("type", "")), "object")


def _title(name: str) -> str:
    """Return "Circuit transition" for `CircuitTransition`."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).split()
    return " ".join(words).capitalize()
