"""When Redis counts as a working store: it responds in time and accepts writes; commands and time decide."""

import ssl

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Slow

from proxy.store.health import (
    Health,
    StoreState,
    cure,
    refuses,
)

LIMIT_S = 0.05


def working() -> Health:
    """Return the state of a Redis that was reached."""
    health = Health(LIMIT_S)
    assert health.reached()
    return health


def test_one_slow_command_takes_nothing_down() -> None:
    """Before, it left every replica's requests unclaimed for a quarter of a second."""
    health = working()
    assert not health.failed(TimeoutError(), 1.0)
    assert health.state is StoreState.UP


def test_many_slow_commands_of_one_moment_are_one_hiccup() -> None:
    """A hundred requests wait for the same slow command: time must go by as well."""
    health = working()
    assert not any(health.failed(TimeoutError(), 1.0) for _ in range(100))
    assert health.state is StoreState.UP


def test_commands_that_are_slow_for_long_take_the_store_down() -> None:
    """Three in a row, for four times as long as one may take: since the first of them began."""
    health = working()
    assert [health.failed(Slow(), at) for at in (1.0, 1.0625, 1.125, 1.1875, 1.25)] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert health.state is StoreState.DOWN


def test_an_answer_between_them_begins_anew() -> None:
    """Slow is not away."""
    health = working()
    for at in range(100):
        assert not health.failed(TimeoutError(), at * LIMIT_S)
        if at % 3 == 1:
            health.answered()
    assert health.state is StoreState.UP


def test_a_patient_limit_is_no_reason_to_wait_for_long() -> None:
    """With two seconds for a command, three of them are enough."""
    health = Health(2.0)
    health.reached()
    assert [health.failed(TimeoutError(), at) for at in (2.0, 4.0, 6.0)] == [False, False, True]


@pytest.mark.parametrize(
    "error", [Disconnected("refused"), OSError(), ssl.SSLError(), OutOfMemoryError("full"), ReadOnlyError("replica")]
)
def test_what_leaves_no_doubt_takes_it_down_at_once(error: Exception) -> None:
    """A connection that cannot be made, a write that is refused."""
    health = working()
    assert health.failed(error, 1.0)
    assert health.state is StoreState.DOWN
    assert not health.failed(error, 1.0)


def test_a_store_that_was_never_reached_is_down_with_the_first_failure() -> None:
    """Whatever the failure, and it is told once."""
    health = Health(LIMIT_S)
    assert health.state is StoreState.UNKNOWN
    assert [health.failed(TimeoutError(), at) for at in (0.1, 0.2)] == [True, False]
    assert [health.reached(), health.reached()] == [True, False]
    assert f"{health!r}" == "<Health UP unanswered=0>"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'. script: 1f8f, on @user:1."), True),
        (ResponseError("Error running script: @user_script: 3: -OOM command not allowed"), True),
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk."), True),
        (NoScriptError("No matching script. Please use EVAL."), True),
        (NoPermissionError("this user has no permissions to run the 'set' command"), True),
        (BusyLoadingError("Redis is loading the dataset in memory"), True),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (ResponseError("value is not an integer or out of range"), False),
    ],
)  # fmt: skip
def test_what_may_be_done_later_is_told_from_what_never_will(error: RedisError, refused: bool) -> None:
    """What a full or read-only Redis refuses is kept for later; a command that is wrong is not."""
    assert refuses(error) is refused


def test_the_log_says_what_may_help() -> None:
    """Of a store that worked before, only what Redis itself says."""
    assert "password" in str(cure(AuthenticationError("invalid username-password pair"), reached_before=False))
    assert "database number" in str(cure(ResponseError("DB index is out of range"), reached_before=False))
    assert "maxmemory" in str(cure(OutOfMemoryError("used memory > 'maxmemory'"), reached_before=True))
    assert "rediss://" in str(cure(Slow("Timeout connecting to server"), reached_before=False))
    assert cure(Disconnected("gone"), reached_before=True) is None
