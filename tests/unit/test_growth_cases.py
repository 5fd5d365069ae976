"""The growth test is complete: every byte-facing function has a case, or an exception with a reason."""

import ast
import asyncio
from contextlib import chdir
from pathlib import Path

import pytest

import proxy
from proxy.build import COMPILED
from tests.growth.byte_facing import byte_facing, counts, entered
from tests.growth.exceptions import EXCEPTIONS, excepted
from tests.growth.functions import CASES
from tests.growth.inputs import FILLINGS, SMALL, filled
from tests.growth.messages import SIZE, messages, staged
from tests.loop import CheckedLoop

PROXY = Path(proxy.__file__).parent
ROUTINE = frozenset(
    {"letters", "spaces", "commas", "fields", "double quotes", "brackets", "numbered lines", "LFs", "digits"}
)
SHORT = 256  # bytes of a case's input


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return what the cases and the messages enter."""
    folder = tmp_path_factory.mktemp("walked")
    with chdir(folder), entered(PROXY) as found:
        for case in CASES:
            for around in case.around:
                for name in ROUTINE.intersection(case.fillings) or case.fillings:
                    case.run(filled(around, FILLINGS[name], min(SHORT, SMALL // case.times)))
        with asyncio.Runner(loop_factory=CheckedLoop) as runner:
            runner.run(_send_messages(folder))
    return found


async def _send_messages(folder: Path) -> None:
    async with staged(folder) as stage:
        for message in messages():
            for name in ("commas", "fields"):
                await stage.cost(filled(message.around, FILLINGS[name], SIZE), answers=message.answers)


@pytest.mark.skipif(COMPILED, reason="a compiled function tells no profiler that it is entered")
def test_every_byte_facing_function_has_a_case_or_an_exception(walked: set[str]) -> None:
    """A new function fails this until a case enters it: tests/growth/functions.py and the modules beside it."""
    missing = [name for name in byte_facing(PROXY) if name not in walked and not excepted(name)]
    assert missing == []


def test_no_exception_is_out_of_date() -> None:
    there = list(byte_facing(PROXY))
    assert [name for name in EXCEPTIONS if not any(f"{one}.".startswith(f"{name}.") for one in there)] == []
    assert all(EXCEPTIONS.values())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(text: bytes) -> int:\n    return sum(byte for byte in text)", True),
        ("def f(text: 'bytes | None') -> None:\n    while text:\n        text = text[1:]", True),
        ("def f(self) -> None:\n    self.rest = self.rest.split(b',')", True),
        ("def f(self) -> None:\n    PATTERN.fullmatch(self.rest)", True),
        ("def f(text: bytes) -> bytes:\n    return text[:5]", False),
        ("def f(circuits: list[Circuit]) -> int:\n    return sum(1 for _ in circuits)", False),
        ("def f(text: bytes) -> None:\n    def g() -> None:\n        text.split()", False),
    ],
)
def test_what_counts_as_byte_facing(source: str, expected: bool) -> None:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert counts(function) is expected


def test_a_function_that_no_case_enters_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "room" / "new.py"
    module.parent.mkdir()
    method = "class A:\n    def f(self, text: str) -> object:\n        return text.{}()"
    for name, expected in (("strip", []), ("split", ["room.new.A.f"])):
        module.write_text(method.format(name))
        assert list(byte_facing(tmp_path)) == expected
