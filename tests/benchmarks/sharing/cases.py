"""The cases of concurrent equal requests: the backend's response, and what Backstay promises for each."""

from typing import NamedTuple


class Case(NamedTuple):
    """One row of the table. Its name in paths is `slug`; each round asks for a path of its own."""

    name: str
    slug: str
    method: str = "GET"
    status: str = "200 OK"
    cache_control: str = ""
    takes_s: float = 0.3
    resets: bool = False
    leaves_after_s: float | None = None  # of the client whose call reaches the backend first
    users: int = 1  # more than one: each says in `Authorization` who he is
    most_calls: int = 1  # that Backstay may make
    seen: frozenset[str] = frozenset({"200"})  # what its clients may see, all of them the same

    def target(self, round_: str) -> str:
        """Return the path that one round asks for."""
        return f"/{self.slug}/{round_}"

    def request(self, number: int, round_: str) -> bytes:
        """Return what client `number` sends: equal for all of a user but the ids that every tab mints for itself."""
        fields = [f"{self.method} {self.target(round_)} HTTP/1.1", "Host: app.example", f"X-Request-Id: {number}"]
        body = b""
        if self.users > 1:
            fields.append(f"Authorization: Bearer {self.user(number)}")
        if self.method == "POST":
            body = b'{"reportId":"%b"}' % round_.encode()
            fields += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
            fields.append(f"Idempotency-Key: tab-{number}")
        return "\r\n".join([*fields, "", ""]).encode() + body

    def user(self, number: int) -> str:
        """Return who client `number` is, "" where nobody says."""
        return f"user-{number % self.users}" if self.users > 1 else ""


CASES = (  # resets come sooner, so that a ladder of four with its waits has time in Backstay's two seconds
    Case("cacheable GET", "cacheable", cache_control="max-age=10"),
    Case("`no-store`", "no-store", cache_control="no-store"),
    Case("upstream answers 500", "error", status="500 Internal Server Error", seen=frozenset({"500"})),
    Case("upstream resets", "reset", resets=True, takes_s=0.2, most_calls=4, seen=frozenset({"502", "504"})),
    Case("leader's client leaves at 0.4 s of 1 s", "leaves", cache_control="max-age=10", takes_s=1, leaves_after_s=0.4),
    Case("identical POST", "create", method="POST", status="201 Created", seen=frozenset({"201"})),
    Case("two users, one URL, `max-age=10`", "two-users", cache_control="max-age=10", users=2, most_calls=2),
)  # fmt: skip
