"""Decide whether Redis is a working store: it responds in time, and it accepts writes.

UNKNOWN --reached--> UP --a connection fails, a write is refused, or commands get no reply for long--> DOWN
UNKNOWN --failed--> DOWN --reached: the listener has subscribed, and a write was carried out--> UP
"""

import re
from enum import Enum

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as Slow

from proxy.store.replies import OutOfStep

COMMANDS = 3  # consecutive commands without a reply make the store DOWN,
LIMITS = 4.0  # once this many time limits of a command have passed,
AT_MOST_S = 1.0  # or at most this many seconds

# With one of these errors Redis replies but refuses commands: it is full, a replica, or not ready.
_REFUSES = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|BUSY|NOSCRIPT|NOAUTH|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN)\b"
    r"|maxmemory|read only replica|is loading|No matching script|has no permissions"
)


class StoreState(Enum):
    """Whether the store works, as far as is known."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Health:
    """The state of one Redis. It counts commands and time: a single slow command changes nothing."""

    __slots__ = ("_limit_s", "_since", "_unanswered", "state")

    def __init__(self, limit_s: float) -> None:
        """Take the time limit of one command in seconds."""
        self.state = StoreState.UNKNOWN
        self._limit_s = limit_s
        self._unanswered = 0
        self._since = 0.0

    def answered(self) -> None:
        """Count a command with a response in time."""
        self._unanswered = 0

    def failed(self, error: BaseException, now: float) -> bool:
        """Count a command that failed at `now`; tell whether the store went down."""
        if self.state is StoreState.UP and _is_slow(error) and not self._silent(now):
            return False
        changed, self.state = self.state is not StoreState.DOWN, StoreState.DOWN
        return changed

    def _silent(self, now: float) -> bool:
        """Tell whether there was no response for long, this command included."""
        if not self._unanswered:
            self._since = now - self._limit_s
        self._unanswered += 1
        return self._unanswered >= COMMANDS and now - self._since >= min(LIMITS * self._limit_s, AT_MOST_S)

    def reached(self) -> bool:
        """Mark the store as working; tell whether it was not before."""
        changed, self.state = self.state is not StoreState.UP, StoreState.UP
        self._unanswered = 0
        return changed

    def __repr__(self) -> str:
        return f"<Health {self.state.name} unanswered={self._unanswered}>"


def _is_slow(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | Slow)


def refuses(error: RedisError) -> bool:
    """Tell whether Redis refused a command because of its own state, which may change."""
    return _REFUSES.search(f"{error}") is not None


def cure(error: BaseException, *, reached_before: bool) -> str | None:
    """Return a likely cure, or None."""
    if isinstance(error, AuthenticationError):
        return "the user or the password in store.url is not the one that Redis expects"
    if "DB index" in str(error):
        return "the database number in store.url does not exist there"
    if isinstance(error, RedisError) and refuses(error):
        return "Redis replies but refuses writes: raise its maxmemory, or name its primary in store.url"
    if isinstance(error, OutOfStep):
        return "the server at store.url mixes up replies: check each proxy between this process and Redis"
    if reached_before:
        return None
    return "check host, port and scheme in store.url (rediss:// if Redis uses TLS)"
