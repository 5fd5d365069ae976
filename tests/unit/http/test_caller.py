"""What is left of a Cookie field without a verified token: exactly the cookies that a search by name does not find."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.caller import Caller
from proxy.http.fields import Fields
from proxy.policy.credentials import Name

PAIRS = st.sampled_from([
    b"at=x", b" at=y", b"\tat=z", b"at =q", b"AT=1", b"xat=2", b"at=", b"at= ", b" at=\t", b"a=at=3", b"", b" ", b"at",
    b'at="x"', b"=at=1", b"at==", b"at=a b", b"lang=en",
])  # fmt: skip
LINES = st.lists(st.lists(PAIRS, max_size=5).map(b";".join), min_size=1, max_size=3)


def pairs_of(lines: list[bytes]) -> list[bytes]:
    """Return what is between the separators of all lines."""
    return [pair for line in lines for pair in map(bytes.strip, line.split(b";")) if pair]


@settings(max_examples=300, deadline=None)
@given(lines=LINES)
def test_what_is_left_has_no_token_and_all_other_cookies(lines: list[bytes]) -> None:
    """Otherwise two requests with different cookies could have one key, or a token could stay in it."""
    caller, name = Caller(b":user", (), ((b"cookie", b"at"),), b"", 1.0), Name(b"cookie", b"at")
    left = [caller.rest(b"cookie", line) for line in lines]
    assert name.values(Fields(tuple([(b"Cookie", line) for line in left]))) == []
    assert pairs_of(left) == [pair for pair in pairs_of(lines) if not pair.startswith(b"at=")]
