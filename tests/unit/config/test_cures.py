"""Whoever writes what a cure says has corrected that mistake."""

import re
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.config.contradictions import RuleReader
from proxy.config.document import Document
from proxy.config.explain import problems_of
from proxy.config.objections import ConfigProblem, Keys
from proxy.config.settings import Settings
from tests.unit.config.test_problems import MEANT, ROUTES, VALUES

MISTAKES = sorted({text for text, _ in (*VALUES, *ROUTES, *MEANT)})
_ASSIGNED = re.compile(r"write (?P<name>\w+) = (?P<value>.+)")
_RENAMED = re.compile(r"write (?P<name>\w+)")
_ITEM = re.compile(r"write (?P<value>\".+)")
_MORE = re.compile(r" \(or |, or | or | too\b| and ")
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def problems(data: dict[str, Any]) -> list[ConfigProblem]:
    """Return every problem of a configuration that is already plain data."""
    document = Document()
    document.data = data
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        return list(problems_of(error, document))
    return list(RuleReader(settings, document, frozenset()).problems())


def value_in(text: str) -> Any:
    """Return the value that a cure gives; what follows it may be an alternative or a condition. None without one."""
    for end in (*(found.start() for found in _MORE.finditer(text)), len(text)):
        try:
            return tomllib.loads(f"x = {text[:end]}")["x"]
        except tomllib.TOMLDecodeError:
            continue
    return None


def keys_of(path: str) -> Keys:
    """Return the keys of `routes[0].match`."""
    return tuple(int(index) if index else name for name, index in _PART.findall(path))


def corrected(data: dict[str, Any], problem: ConfigProblem) -> bool:
    """Write what a cure says into the data. Tell whether it says what to write there."""
    *above, key = keys_of(problem.key_path)
    table: Any = data
    for each in above:
        table = table[each] if isinstance(each, int) or each in table else None
        if not isinstance(table, dict | list):
            return False
    if (item := _ITEM.fullmatch(problem.cure)) is not None and isinstance(key, int):
        table[key] = value_in(item["value"])
        return True
    if not isinstance(table, dict):
        return False
    if problem.cure == "remove it":
        del table[key]
        return True
    unknown = problem.message.startswith("there is no such setting") or ": match has no" in problem.message
    if (renamed := _RENAMED.fullmatch(problem.cure)) is not None and unknown:
        table[renamed["name"]] = table.pop(key)
        return True
    if (assigned := _ASSIGNED.fullmatch(problem.cure)) is None or (value := value_in(assigned["value"])) is None:
        return False
    if unknown:
        table.pop(key)
    table[assigned["name"]] = value
    return True


@pytest.mark.parametrize("text", MISTAKES)
def test_what_a_cure_says_to_write_is_accepted(text: str) -> None:
    """Every mistake that the tests know: a cure that is refused in turn would send the reader in a circle."""
    data = tomllib.loads(text)
    found = problems(data)
    assert found
    if not all(corrected(data, problem) for problem in found):
        return
    Settings.model_validate(data)  # no value and no name is refused
    for _ in range(2):  # a right value may be missing its other half, such as a key without a certificate
        assert all(corrected(data, problem) for problem in problems(data))
    assert problems(data) == []


def test_most_cures_say_what_to_write() -> None:
    """The test above would say nothing if it understood no cure."""
    understood = 0
    for text in MISTAKES:
        data = tomllib.loads(text)
        understood += all(corrected(data, problem) for problem in problems(data))
    assert understood > len(MISTAKES) * 0.6
