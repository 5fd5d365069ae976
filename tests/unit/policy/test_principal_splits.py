"""By which claim two tokens of one subject differ."""

from typing import Any

import orjson

from proxy.policy.principal_splits import MOST_SUBJECTS, PrincipalSplits


def note(splits: PrincipalSplits, principal: str, subject: str = "ada", **told: object) -> tuple[str, ...]:
    """Note a principal by its claims."""
    return splits.note(subject.encode(), principal.encode(), {"iss": "x", "sub": subject, **told})


def test_the_claims_that_differ_are_named() -> None:
    """Whether they are new, gone or changed."""
    splits = PrincipalSplits()
    assert note(splits, "1", a=1, b=1) == ()
    assert note(splits, "2", b=2, c=1) == ("a", "b", "c")
    assert note(splits, "1", a=1, b=1) == ()
    assert note(splits, "3", "bo", a=7) == ()
    assert splits.count == 1


def test_a_difference_beyond_what_is_compared_is_told_too() -> None:
    """A token may have more claims than are remembered."""
    splits = PrincipalSplits()
    many: dict[str, Any] = {f"c{n:03}": n for n in range(60)}
    note(splits, "1", **many)
    assert note(splits, "2", **{**many, "c059": 0}) == ("another claim",)


def test_the_memory_of_subjects_is_bounded() -> None:
    """In subjects, in claims of a subject, in shapes, in names and in their length."""
    splits = PrincipalSplits()
    for n in range(MOST_SUBJECTS + 100):
        note(splits, "1", f"s{n}", **{f"x{n % 100}": 1})
    assert len(splits) == MOST_SUBJECTS
    for n in range(200):
        found = note(splits, str(n), "ada", **{"y" * 100 + str(n): 1})
        assert all(len(name) <= 64 for name in found)
    assert len(splits.by) <= 32
    assert len(splits._shapes) <= 64
    assert len(splits._seen[b"ada"].principals) == 4


def test_a_claim_is_named_so_that_every_log_and_page_can_show_it() -> None:
    """JSON can name a claim with half of a surrogate pair, a line break or an escape sequence."""
    splits = PrincipalSplits()
    note(splits, "1")
    found = note(splits, "2", "ada", **{"\ud800x": 1, "a\nb": 1, "\x1b[31m": 1})
    assert found == ("\\x1b[31m", "a\\x0ab", "\\ud800x")
    assert orjson.loads(orjson.dumps(splits.by)) == dict.fromkeys(found, 1)
