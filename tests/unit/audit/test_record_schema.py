"""The sidecar's records agree with the models, the schema and the reference."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import proxy
from proxy.audit.chain import Chain
from proxy.audit.export import COLUMNS
from proxy.audit.record import _ms
from proxy.audit.record_schema import ALONE, LINE, OUTCOMES, WHY, RequestRecord, record_schema
from proxy.http.headers import NEVER_SHARED
from proxy.http.problems import Reason
from proxy.policy.outcome import RequestOutcome
from tests.unit.audit.samples import fields

SCHEMA = record_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
PROXY = Path(proxy.__file__).parent
POLICIES = sorted(file for room in ("policy", "exchange") for file in (PROXY / room).glob("*.py"))


def chained(document: dict[str, Any]) -> dict[str, Any]:
    """Return a line with everything that a line has."""
    line: dict[str, Any] = orjson.loads(Chain().append(document))
    return line


ATTEMPT = {"n": 1, "status": 201, "sent": True, "ms": 240.5, "waited_ms": 0, "why": "answered"}
LINES = {
    "gap": {"ts": "2026-11-23T15:37:01.123456Z", "gap": 3},
    "torn": {"ts": "2026-11-23T15:37:01.123456Z", "torn": 17},
    "request": fields(metadata={}, circuit="sessions", attempts=[ATTEMPT]),
    "retired": {"ts": "2026-11-23T15:37:01.123456Z", "note": "retired", "files": 2, "through": 9, "head": "0" * 64},
    "checkpoint": {"ts": "2026-11-23T15:37:01.123456Z", "note": "checkpoint", "agrees": False, "detail": "cut"},
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_valid(name: str) -> None:
    """Both for pydantic and for any other reader of the schema."""
    line = chained(LINES[name])
    LINE.validate_json(orjson.dumps(line))
    assert [error.message for error in VALIDATOR.iter_errors(line)] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "secret"},
        {"status": "201"},
        {"flight": {"role": "led"}},
        {"target": "fast"},
        {"gap": 1},
        {"attempts": [ATTEMPT | {"why": "because"}]},
    ],
)
def test_what_no_line_has_is_refused(changes: dict[str, object]) -> None:
    line = chained(LINES["request"] | changes)
    with pytest.raises(ValidationError):
        LINE.validate_json(orjson.dumps(line))
    assert list(VALIDATOR.iter_errors(line))


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_columns_of_exports_are_fields_of_a_record() -> None:
    """CSV and record call things by the same names."""
    names = {column.partition(".")[0] for column in COLUMNS} - {"gap"}
    assert names <= RequestRecord.model_fields.keys()


def test_every_outcome_is_described() -> None:
    assert set(OUTCOMES) == {*map(str, RequestOutcome), *map(str, Reason)}


def test_every_reason_of_an_attempt_is_described() -> None:
    """What decides about retries gives no reason that the reference does not have, and the reference no other."""
    said = set(_reasons())
    assert said >= {"exhausted", "network", "budget", "not_idempotent", "probe", "unfinished"}
    assert said == set(WHY)


def _reasons() -> Iterator[str]:
    """Yield every constant that ends as a value of `why`: of `Stop`, of the waits' causes, and what is assigned."""
    for file in POLICIES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Stop", "Ladder", "RetrySchedule"):
                yield from _texts(node.args[0])
            elif isinstance(node, ast.Assign) and any(ast.unparse(each).endswith(".why") for each in _flat(node)):
                yield from _texts(node.value)
            elif isinstance(node, ast.FunctionDef) and node.name == "_must_not_repeat":
                returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
                yield from (text for value in returned for text in _texts(value))


def _flat(node: ast.Assign) -> Iterator[ast.expr]:
    for target in node.targets:
        yield from target.elts if isinstance(target, ast.Tuple) else (target,)


def _texts(node: ast.AST | None) -> Iterator[str]:
    for each in ast.walk(node) if node else ():
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def test_every_reason_to_go_alone_is_described() -> None:
    """Each is a constant of the policies, or a field of a request that is never shared; `off` is not recorded."""
    constants = {text for file in POLICIES for text in _texts(ast.parse(file.read_text(encoding="utf-8")))}
    names = {
        node.value.decode()
        for file in POLICIES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value.isalpha()
    }
    assert set(ALONE) <= constants | names | {name.decode() for name in NEVER_SHARED}


def test_the_schema_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [(0.0, "0.000"), (0.0004, "0.000"), (0.0005, "0.001"), (0.4, "0.400"), (12.3456, "12.346"), (3.6e6, "3600000.000")],
)
def test_a_duration_is_a_number_with_three_decimals(milliseconds: float, written: str) -> None:
    """In JSON, which knows no ".4"."""
    assert _ms(milliseconds) == written
    assert orjson.loads(written) == pytest.approx(milliseconds, abs=0.0006)
