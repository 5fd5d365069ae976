"""The caller that verified tokens name, who takes the place of the tokens' bytes."""

from collections.abc import Callable, Sequence

Place = tuple[bytes, bytes]  # a field in lower case, and the name of one cookie in it; b"": the whole field


class Caller:
    """Whom verified tokens name.

    `key` identifies the principal, in lines that begin with ":", as no field name does. `owners` are digests for
    invalidation: of each subject, then of each principal. `places` are where the tokens were. `subject` is a digest of
    issuer and subject. `expires` is in seconds of wall time.
    """

    __slots__ = ("_fields", "expires", "key", "owners", "places", "subject")

    def __init__(
        self, key: bytes, owners: tuple[bytes, ...], places: tuple[Place, ...], subject: bytes, expires: float
    ) -> None:
        self.key = key
        self.owners = owners
        self.places = places
        self.subject = subject
        self.expires = expires
        self._fields = frozenset([field for field, _ in places])

    def shows_in(self, field: bytes) -> bool:
        """Tell whether a verified token was in a field, named in lower case."""
        return field in self._fields

    def rest(self, field: bytes, value: bytes) -> bytes:
        """Return a field's value without the verified tokens."""
        for place, cookie in self.places:
            if place == field:
                value = _without_cookie(value, cookie + b"=") if cookie else b""
        return value

    def __repr__(self) -> str:
        return f"<Caller {self.subject.hex()[:8]} until {self.expires:.0f}>"


def combined(callers: Sequence[Caller]) -> Caller | None:
    """Return one caller for tokens of several tables, None for none."""
    if len(callers) < 2:
        return callers[0] if callers else None
    return Caller(
        b"\n".join([one.key for one in callers]),
        tuple([owner for one in callers for owner in one.owners]),
        tuple([place for one in callers for place in one.places]),
        callers[0].subject,
        min([one.expires for one in callers]),
    )


class Standing:
    """How a request's tokens were judged.

    `caller`: whom its verified tokens name, None if none is verified. `offline`: the same with tokens that have expired
    a short time ago, who may get stale responses; None if there is none. `refused`: a token is neither. `claimed`:
    digests of the subjects that tokens name which are not verified. A write of theirs counts as one of the subjects.
    `unread` return what tokens claim that nobody has looked at; they are called when that is asked for.
    """

    __slots__ = ("_claimed", "_unread", "caller", "offline", "refused")

    def __init__(
        self,
        caller: Caller | None,
        offline: Caller | None = None,
        *,
        refused: bool = False,
        claimed: tuple[bytes, ...] = (),
        unread: tuple[Callable[[], bytes], ...] = (),
    ) -> None:
        self.caller = caller
        self.offline = offline
        self.refused = refused
        self._claimed = claimed
        self._unread = unread

    @property
    def claimed(self) -> tuple[bytes, ...]:
        """Return the digests of the subjects that tokens claim. Few requests need them: it saves 6 µs for a forgery."""
        if self._unread:
            read = [claim() for claim in self._unread]
            self._claimed, self._unread = (*self._claimed, *[claimed for claimed in read if claimed]), ()
        return self._claimed

    def __repr__(self) -> str:
        return f"<Standing caller={self.caller} offline={self.offline} refused={self.refused}>"


def _without_cookie(value: bytes, beginning: bytes) -> bytes:
    """Return a Cookie field's value without the pairs that begin so: exactly those that a search by name finds."""
    pairs = [pair for pair in value.split(b";") if not pair.lstrip(b" \t").startswith(beginning)]
    return b";".join(pairs).strip(b" \t")
