"""The JSON Schema of the configuration agrees with `backstay check`, and describes every setting."""

import json
import re
import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.config.field_types import OrNone, Section, Timeout
from proxy.config.objections import Objection
from proxy.config.schema import configuration_schema, schema_of
from proxy.config.templates import TEMPLATE_PATTERN, parse_template
from tests.unit.config.test_example import EXAMPLE, TEXT, shown

SCHEMA = configuration_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


class Undescribed(Section):
    """A table with a setting that nobody described."""

    wait: Timeout = 1.0


class Later(Section):
    """A table with a setting that came later."""

    wait: OrNone[Timeout] = None
    """Time to wait. Since 1.2.0."""


def tables() -> dict[str, Any]:
    """Return every table of the schema by name."""
    return {"Settings": SCHEMA, **SCHEMA["$defs"]}


def test_it_is_a_json_schema() -> None:
    """Editors take it as it is."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", tables())
def test_every_setting_is_described_and_has_a_release(name: str) -> None:
    """A reader of the reference finds a sentence beside each setting."""
    for key, setting in tables()[name]["properties"].items():
        assert setting["description"].endswith((".", ")")), f"{name}.{key}"
        assert setting["x-since"].count(".") == 2, f"{name}.{key}"


@pytest.mark.parametrize("name", tables())
def test_every_default_is_a_value_that_may_be_written(name: str) -> None:
    """A default is shown as TOML has it: with a unit, or as the word none."""
    defs = {"$defs": SCHEMA["$defs"]}
    for key, setting in tables()[name]["properties"].items():
        if "default" in setting:
            assert list(Draft202012Validator({**setting, **defs}).iter_errors(setting["default"])) == [], key


def test_the_examples_first_line_names_the_schema() -> None:
    """Taplo and Even Better TOML read it there, relative to the file."""
    first, _, path = TEXT.splitlines()[0].partition(" ")
    assert first == "#:schema"
    assert json.loads((EXAMPLE.parent / path).read_text(encoding="utf-8")) == configuration_schema()


def test_the_example_is_valid() -> None:
    """Both as it is written and with every default shown."""
    for example in (tomllib.loads(TEXT), shown()):
        assert [error.message for error in VALIDATOR.iter_errors(example)] == []


@pytest.mark.parametrize(
    "text",
    [
        "[listen]\nadress = '0.0.0.0:80'",
        "[listen]\ndrain_delay = 5",
        "[listen]\ndrain_delay = '5 seconds'",
        "[listen]\nmax_head = '64 kilobytes'",
        "[audit]\nrotate_size = 'never'",
        "[audit]\ndurability = 'fast'",
        "[defaults.retry]\nbudget = 2",
        "[[routes]]\noperation = 'x'",
    ],
)
def test_a_mistake_is_one_in_the_schema_too(text: str) -> None:
    """Each of these is refused by `backstay check`."""
    assert list(VALIDATOR.iter_errors(tomllib.loads(text)))


def test_a_setting_without_a_docstring_is_refused_by_name() -> None:
    """Whoever adds a setting is told what to write."""
    with pytest.raises(LookupError, match=r"Undescribed\.wait has no docstring"):
        schema_of(Undescribed)


def test_a_release_is_read_from_the_docstring() -> None:
    """It is not part of the description."""
    wait = schema_of(Later)["properties"]["wait"]
    assert (wait["description"], wait["x-since"], wait["default"]) == ("Time to wait.", "1.2.0", "none")


def accepts(route: str, before: str = "") -> bool:
    """Tell whether the schema accepts a route with this text."""
    data = tomllib.loads(f'{before}[upstreams.s]\nurl = "http://h"\n[[routes]]\n{route}\n')
    return not list(VALIDATOR.iter_errors(data))


@pytest.mark.parametrize("match", ["GET /", "GET, POST /a//{b}/c.json", "ANY /a:b/{rest...}", "GET /~u/$metadata/%20"])
def test_what_is_right_is_right_in_an_editor(match: str) -> None:
    """A mark at a right line would be worse than none at a wrong one."""
    route = f"operation = 'a-1'\nmatch = '{match}'\n"
    assert accepts(route)
    assert all(
        accepts(f"{route}subject = '{subject}'")
        for subject in ("none", "body:/a/b", "path:b", "query:a b", "header:X-A")
    )
    assert all(accepts(f"{route}total_timeout = '{time}'") for time in ("1ms", "0.5s", "10 m", "0.05h", "100d"))
    assert accepts(route, "[listen]\ndrain_delay = '0s'\n")


@pytest.mark.parametrize(
    "match",
    [
        "/a", "GET", "get /a", "GET a", "GET  /a", "GET /a ", "GET /a?b", "PROPFIND /a", "GET|POST /a", "GET /a/:id",
        "GET /a/*", "GET /{a-b}", "GET /{x}.json", "GET /{rest...}/a", "GET /a/{p+}",
    ],
)  # fmt: skip
def test_a_wrong_template_is_marked_in_an_editor(match: str) -> None:
    """So is a subject without a place, an operation with a space, and a timeout of 0."""
    assert not accepts(f"operation = 'a'\nmatch = '{match}'")


@pytest.mark.parametrize(
    "more",
    ["subject = 'foo'", "subject = 'path:{id}'", "subject = 'body:a'", "total_timeout = '0s'", "reuse = '0.0ms'"],
)
def test_a_wrong_setting_is_marked_in_an_editor(more: str) -> None:
    """As `backstay check` refuses it."""
    assert not accepts(f"operation = 'a'\nmatch = 'GET /a'\n{more}")
    assert not accepts("operation = 'A b'\nmatch = 'GET /a'")


@given(st.text(alphabet='/{}:*.,<>[]$?#^()ab1é~ "').map(lambda path: f"GET /{path}"))
def test_no_accepted_template_is_marked(text: str) -> None:
    """The pattern only says what every template has."""
    with suppress(Objection):
        parse_template(text)
        assert re.search(TEMPLATE_PATTERN, text)
