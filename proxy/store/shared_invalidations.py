"""Invalidations for all replicas: a write also invalidates the others' cached responses and closes their flights."""

from collections.abc import Callable, Iterable
from itertools import count

from proxy.policy.invalidation import Invalidations
from proxy.store.command_queue import Argument, CommandQueue
from proxy.store.pubsub import Message, ReplicaPubSub
from proxy.store.redis_connection import RedisConnection
from proxy.store.redis_responses import (
    ALL,
    MARK_S,
    Pair,
    mark_of_ended,
    mark_of_owner,
    mark_of_subject,
    mark_of_subjectless,
)
from proxy.store.scripts import INVALIDATE, call

_ANY = ("utf-8", "surrogateescape")


class SharedInvalidations(Invalidations):
    """Publish every invalidation: as new marks of cached responses, and as a message for other replicas' flights.

    During an outage nothing can be published. After it, everything cached or begun before is stale.
    """

    __slots__ = ("_commands", "_connection", "_marks", "_name", "_now", "_pubsub", "on_drop_subject")

    def __init__(
        self,
        connection: RedisConnection,
        commands: CommandQueue,
        pubsub: ReplicaPubSub,
        name: str,
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._connection = connection
        self._commands = commands
        self._pubsub = pubsub
        self._name = name
        self._now = now
        self._marks = count(1)
        self.on_drop_subject: Callable[[str], None] | None = None  # called with a subject that another replica erases
        pubsub.on_message = self._received
        pubsub.on_reconnect = self._start_over

    def begin(self, subject: str | None, owners: Iterable[bytes], for_s: float = 0.0) -> None:
        """Close the flights that a beginning write may invalidate, in all replicas. Cached responses stay."""
        owners = list(owners)
        super().begin(subject, owners, for_s)
        self._publish([], _message("begin", subject, owners))

    def invalidate(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Invalidate what a write has changed, in all replicas."""
        owners = list(owners)
        super().invalidate(subject, owners)
        if subject is None:
            marks = [mark_of_owner(owner) for owner in owners]
        else:
            marks = [mark_of_subject(subject), *(mark_of_subjectless(owner) for owner in owners)]
        self._publish(marks, _message("seal", subject, owners))

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Invalidate all reads of these owners, in all replicas."""
        owners = list(owners)
        super().drop_owners(owners)
        self._publish([mark_of_owner(owner) for owner in owners], _message("drop_owners", None, owners))

    def end_session(self, owners: Iterable[bytes], address: str) -> None:
        """Invalidate reads with no other credentials than these, in all replicas."""
        owners = list(owners)
        super().end_session(owners, address)
        marks = [mark_of_ended(owner) for owner in owners]
        self._publish(marks, {**_message("end_session", None, owners), "address": address})

    def drop_subject(self, subject: str) -> None:
        """Invalidate all reads of the subject, in all replicas."""
        super().drop_subject(subject)
        self._publish([mark_of_subject(subject)], _message("drop_subject", subject))

    def mark_uncertain(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Cache nothing for `for_s` seconds that a write may still change, in all replicas."""
        owners = list(owners)
        super().mark_uncertain(for_s, subject, owners, now)
        self._publish([], {**_message("doubt", subject, owners), "for_s": for_s})

    def _publish(self, marks: list[Pair], message: Message) -> None:
        if self._connection.up:
            self._commands.fire_and_forget(*self._command(marks, message))

    def _command(self, marks: list[Pair], message: Message) -> tuple[Argument, ...]:
        """Return the command that sets the marks and publishes the message atomically."""
        mark = f"{self._name}-{next(self._marks):x}"
        keys = [self._connection.key(name) for name in dict.fromkeys(name for pair in marks for name in pair)]
        return call(
            INVALIDATE, keys, mark, MARK_S * 1000, self._pubsub.invalidation_channel, self._pubsub.encode(message)
        )

    def _start_over(self) -> tuple[tuple[Argument, ...], ...]:
        super().drop_all()
        return (self._command([ALL], _message("drop_all")),)

    def _received(self, message: Message) -> None:
        try:
            subject, owners = _named(message)
            what, address, for_s = (
                str(message["what"]),
                str(message.get("address", "")),
                float(message.get("for_s", 0.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            self._pubsub.damaged(f"{type(error).__name__}: {error}")
            return
        match what:
            case "begin":
                super().begin(subject, owners)
            case "seal":
                super().invalidate(subject, owners)
            case "drop_owners":
                super().drop_owners(owners)
            case "end_session":
                super().end_session(owners, address)
            case "drop_subject":
                super().drop_subject(subject or "")
                if self.on_drop_subject is not None:
                    self.on_drop_subject(subject or "")
            case "doubt":
                super().mark_uncertain(for_s, subject, owners, self._now())
            case "drop_all":
                super().drop_all()
            case _:
                self._pubsub.damaged(f"the unknown word {what!r}")


def _named(message: Message) -> tuple[str | None, list[bytes]]:
    """Return the subject and the owners of a message."""
    subject = None if message["subject"] is None else bytes.fromhex(message["subject"]).decode(*_ANY)
    return subject, [bytes.fromhex(owner) for owner in message["owners"]]


def _message(what: str, subject: str | None = None, owners: Iterable[bytes] = ()) -> Message:
    named = None if subject is None else subject.encode(*_ANY).hex()  # a subject may contain invalid Unicode
    return {"what": what, "subject": named, "owners": [owner.hex() for owner in owners]}
