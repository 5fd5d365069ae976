"""Seals that every replica hears of: a write here makes old what others keep, and what they are asking for now."""

from collections.abc import Callable, Iterable
from itertools import count

from proxy.policy.invalidation import Invalidations
from proxy.store.command_queue import Argument, CommandQueue
from proxy.store.pubsub import News, ReplicaPubSub
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
from proxy.store.scripts import SEAL, call

_ANY = ("utf-8", "surrogateescape")


class SharedInvalidations(Invalidations):
    """Seals whose every change is told: as new marks on what is kept, and as a word to the flights of other replicas.

    While Redis is away nothing can be told, so when it is back everything that was kept or begun before counts as old.
    """

    __slots__ = ("_bus", "_line", "_link", "_marks", "_name", "_now")

    def __init__(
        self, link: RedisConnection, line: CommandQueue, bus: ReplicaPubSub, name: str, now: Callable[[], float]
    ) -> None:
        super().__init__()
        self._link = link
        self._line = line
        self._bus = bus
        self._name = name
        self._now = now
        self._marks = count(1)
        bus.on_news = self._heard
        bus.on_return = self._start_over

    def begin(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Close the flights that a write may make old, here and everywhere. What is kept stays until it is done."""
        owners = list(owners)
        super().begin(subject, owners)
        self._tell([], _news("begin", subject, owners))

    def seal(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Make old what a write has made old, here and everywhere."""
        owners = list(owners)
        super().seal(subject, owners)
        if subject is None:
            marks = [mark_of_owner(owner) for owner in owners]
        else:
            marks = [mark_of_subject(subject), *(mark_of_subjectless(owner) for owner in owners)]
        self._tell(marks, _news("seal", subject, owners))

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Make old all that any of them has read, everywhere."""
        owners = list(owners)
        super().drop_owners(owners)
        self._tell([mark_of_owner(owner) for owner in owners], _news("drop_owners", None, owners))

    def end_session(self, owners: Iterable[bytes], address: str) -> None:
        """Make old what was read by whoever showed nothing but these, everywhere."""
        owners = list(owners)
        super().end_session(owners, address)
        marks = [mark_of_ended(owner) for owner in owners]
        self._tell(marks, {**_news("end_session", None, owners), "address": address})

    def drop_subject(self, subject: str) -> None:
        """Make old all that was read of the subject, everywhere."""
        super().drop_subject(subject)
        self._tell([mark_of_subject(subject)], _news("drop_subject", subject))

    def doubt(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Have nothing kept of it for a while, everywhere."""
        owners = list(owners)
        super().doubt(for_s, subject, owners, now)
        self._tell([], {**_news("doubt", subject, owners), "for_s": for_s})

    def _tell(self, marks: list[Pair], news: News) -> None:
        if self._link.up:
            self._publish(marks, news)

    def _publish(self, marks: list[Pair], news: News) -> None:
        self._line.errand(*self._word(marks, news))

    def _word(self, marks: list[Pair], news: News) -> tuple[Argument, ...]:
        """Return the command that sets the marks and says the word, in one step."""
        mark = f"{self._name}-{next(self._marks):x}"
        keys = [self._link.key(name) for name in dict.fromkeys(name for pair in marks for name in pair)]
        return call(SEAL, keys, mark, MARK_S * 1000, self._bus.news_channel, self._bus.word(news))

    def _start_over(self) -> tuple[tuple[Argument, ...], ...]:
        super().drop_all()
        return (self._word([ALL], _news("drop_all")),)

    def _heard(self, news: News) -> None:
        try:
            subject, owners = _named(news)
            what, address, for_s = str(news["what"]), str(news.get("address", "")), float(news.get("for_s", 0.0))
        except (KeyError, TypeError, ValueError) as error:
            self._bus.damaged(f"{type(error).__name__}: {error}")
            return
        match what:
            case "begin":
                super().begin(subject, owners)
            case "seal":
                super().seal(subject, owners)
            case "drop_owners":
                super().drop_owners(owners)
            case "end_session":
                super().end_session(owners, address)
            case "drop_subject":
                super().drop_subject(subject or "")
            case "doubt":
                super().doubt(for_s, subject, owners, self._now())
            case "drop_all":
                super().drop_all()
            case _:
                self._bus.damaged(f"the unknown word {what!r}")


def _named(news: News) -> tuple[str | None, list[bytes]]:
    """Return the subject and the owners of a word."""
    subject = None if news["subject"] is None else bytes.fromhex(news["subject"]).decode(*_ANY)
    return subject, [bytes.fromhex(owner) for owner in news["owners"]]


def _news(what: str, subject: str | None = None, owners: Iterable[bytes] = ()) -> News:
    named = None if subject is None else subject.encode(*_ANY).hex()  # not every subject is Unicode
    return {"what": what, "subject": named, "owners": [owner.hex() for owner in owners]}
