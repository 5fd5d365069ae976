"""Every regular expression of the product matches in linear time: a static check."""

import re
from pathlib import Path

import pytest

import proxy
from proxy.policy.credentials import Name
from tests.growth.patterns import Found, objections, patterns, unnamed

PROXY = Path(proxy.__file__).parent
FOUND = list(patterns(PROXY))
MADE_FROM_SETTINGS = {"policy/credentials.py": Found("Name.pairs", Name(b"cookie", b"sid").pairs, True)}


@pytest.mark.parametrize("found", [*FOUND, *MADE_FROM_SETTINGS.values()], ids=lambda found: found.place)
def test_no_pattern_has_to_go_back(found: Found) -> None:
    assert objections(found.pattern, searched=found.searched) == []


def test_every_pattern_has_a_name_by_which_it_is_checked() -> None:
    """A pattern within a function escapes the check: name it at the module's top, or list it above."""
    paths = {path.relative_to(PROXY).as_posix(): list(unnamed(path)) for path in PROXY.rglob("*.py")}
    assert {path for path, found in paths.items() if found} == MADE_FROM_SETTINGS.keys()
    assert len(FOUND) > 40


@pytest.mark.parametrize(
    "text",
    [
        r"(a+)+$", r"(a|a)*b", r"(?:a?a)*b", r"(a?)*b", r"(?:a*b?)*+c",  # exponential
        r"a*a*b", r"\s*\s*x", r"\w+\d+x", r"a+[ab]+c", r"[ \t]*([ -~]*?)[ \t]*", r"(.+)\.gz", r"(a*)\1",  # polynomial
        r"(?i:A)*a*b", r"(?s:.)*\n*x",
    ],
)  # fmt: skip
def test_a_pattern_that_may_go_back_is_seen(text: str) -> None:
    assert objections(re.compile(text), searched=False)
    assert objections(re.compile(text.encode()), searched=False)


@pytest.mark.parametrize("text", [r"x*y", r"a[^b]*b", r"\s+$", r"(?m)^a[^b]*b"])
def test_a_search_that_may_begin_within_its_own_run_is_seen(text: str) -> None:
    assert objections(re.compile(text), searched=True)


@pytest.mark.parametrize(
    "text",
    [r"a*b", r"[ \t]*+[ -~]*", r"(?:a|b)*c", r"(?:a|ab)*c", r"a{1,255}a", r'"(?:[^"\\]|\\.)*"'],
)
def test_what_cannot_go_back_passes(text: str) -> None:
    assert objections(re.compile(text), searched=False) == []


@pytest.mark.parametrize("text", [r"\{([^{}]*)\}", r"\Aa[^b]*b", r"(?m)^a[^\nb]*b", r"%3f.*"])
def test_a_search_that_cannot_go_back_passes(text: str) -> None:
    assert objections(re.compile(text), searched=True) == []
