"""A reply is taken only where it is one to the command; whatever else Redis may send is recognised, and raises once."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, ResponseError

import proxy.store
from proxy.store import scripts
from proxy.store.packing import pack
from proxy.store.replies import _SCRIPTS, _SHAPES, Command, OutOfStep, check, understood

KEY = "backstay:claim:a"
VALUE = pack({}, b"", KEY)
OTHERS = pack({}, b"", "backstay:claim:b")
CLAIM = scripts.call(scripts.CLAIM, [KEY, "backstay:lease:a"], b"mine", 1, 1)
TAKE_OVER = scripts.call(scripts.TAKE_OVER, [KEY, "backstay:lease:a"], b"mine", 1, 1, b"theirs")
RIGHT: list[tuple[Command, list[Any]]] = [
    (("PING",), [b"PONG"]),
    (("SET", KEY, b""), [b"OK", None]),
    (("PSETEX", KEY, 1, b""), [b"OK"]),
    (("GET", KEY), [None, VALUE, b"", b"of another program", OTHERS[:-1]]),
    (("GETRANGE", KEY, 0, 9), [b"", VALUE[:9]]),
    (("MGET", KEY, "backstay:mark:0:1f"), [[VALUE, b"0:1f=one-1"], [None, None], [None, b"one-1"]]),
    (("DEL", KEY), [0, 1]),
    (("UNLINK", KEY), [0, 1]),
    (("SCAN", 0), [[b"0", []], [b"17", [b"a", b"b"]]]),
    (("SCRIPT LOAD", scripts.CLAIM), [scripts.SHA[scripts.CLAIM].encode()]),
    (CLAIM, [[KEY.encode(), None, 0, 0], [KEY.encode(), VALUE, -2, 100]]),
    (TAKE_OVER, [[KEY.encode(), 0], [KEY.encode(), 1]]),
    *((scripts.call(script, [KEY], b""), [None]) for script in scripts.ALL[2:]),
]
WRONG: list[tuple[Command, Any]] = [
    (("PING",), b"OK"),
    (("SET", KEY, b""), b"PONG"),
    (("GET", KEY), OTHERS),
    (("GET", KEY), b"0:1f=one-1"),
    (("MGET", KEY, "backstay:mark:0:1f"), [OTHERS, None]),
    (("MGET", KEY, "backstay:mark:0:1f"), [None, b"0:20=one-1"]),
    (("MGET", KEY, "backstay:mark:0:1f"), [None, VALUE]),
    (("MGET", KEY, "backstay:mark:0:1f"), [VALUE]),
    (("DEL", KEY), True),
    (("SCAN", 0), [b"x", []]),
    (("SCAN", 0), [b"0", [1]]),
    (("SCRIPT LOAD", scripts.CLAIM), scripts.SHA[scripts.RENEW].encode()),
    (CLAIM, [b"backstay:claim:b", None, 0, 0]),
    (CLAIM, [KEY.encode(), OTHERS, 0, 0]),
    (CLAIM, [KEY.encode(), None, 0]),
    (CLAIM, None),
    (TAKE_OVER, [b"backstay:claim:b", 1]),
    (TAKE_OVER, 1),
]


@pytest.mark.parametrize(("command", "replies"), RIGHT)
def test_a_reply_to_the_command_is_taken(command: Command, replies: list[Any]) -> None:
    """So is an error, which any command may be answered with."""
    for reply in (*replies, ResponseError("ERR")):
        check(command, reply)


@pytest.mark.parametrize(("command", "reply"), WRONG)
def test_a_reply_to_another_command_is_not_taken(command: Command, reply: Any) -> None:
    """By its shape, or by the key that it names."""
    with pytest.raises(OutOfStep):
        check(command, reply)


REPLIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=9) | st.sampled_from([VALUE, OTHERS]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([command for command, _ in RIGHT]), REPLIES)
def test_whatever_comes_raises_nothing_else(command: Command, reply: Any) -> None:
    """Before, it was a traceback and a 500."""
    try:
        check(command, reply)
    except OutOfStep:
        return
    assert reply is None or type(reply) in (bytes, int, list)


def test_every_command_has_a_shape() -> None:
    """One that is sent without would raise KeyError; so would a script that returns something and is not listed."""
    source = "".join(path.read_text() for path in Path(proxy.store.__path__[0]).glob("*.py"))
    sent = set(re.findall(r'"((?:[A-Z]{3,}|SCRIPT LOAD))",', source)) - {"EVALSHA", "MATCH", "COUNT"}
    assert sent <= set(_SHAPES), sent
    returning = {scripts.SHA[script] for script in scripts.ALL if re.search(r"^\s*return", script, re.MULTILINE)}
    assert returning == set(_SCRIPTS)


@pytest.mark.parametrize("error", [ValueError(), TypeError(), IndexError(), InvalidResponse(), RecursionError()])
async def test_what_the_client_cannot_parse_is_out_of_step(error: Exception) -> None:
    """Whatever its parser raises."""

    async def read() -> None:
        raise error

    with pytest.raises(OutOfStep):
        await understood(read())


@pytest.mark.parametrize("error", [ResponseError(), ConnectionError(), TimeoutError(), RuntimeError()])
async def test_what_redis_or_the_network_says_is_passed_on(error: Exception) -> None:
    """A refusal and a lost connection are told as what they are."""

    async def read() -> None:
        raise error

    with pytest.raises(type(error)):
        await understood(read())
