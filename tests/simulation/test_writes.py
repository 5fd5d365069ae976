"""Read your writes: a request after a write's response never gets a response from before the write.

A write that was refused, or never sent, changed nothing: it takes nothing away from anybody.
"""

from dataclasses import replace

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.http.problems import Reason
from proxy.policy.recovery_plan import RequestTemplate
from proxy.policy.routing import SubjectRule
from tests.settings import changed, recovery_rules
from tests.simulation.scripted import Step, answers, fails, hangs
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import HISTORY, LOAD, NO_RETRIES, ROUTES, UPDATE, World, finish


@simulated
async def test_a_reader_after_a_write_does_not_join_an_older_flight() -> None:
    """A slow read is under way, a write is answered, a second reader comes: it asks anew and sees the write."""
    world = World([answers(200, b"before", after_s=0.5), answers(204, b""), answers(200, b"after", after_s=0.01)])
    early = world.get()
    await world.until_ms(100)
    await world.patch().finish()
    late = world.get()
    await finish(early, late)
    assert (early.client.body, late.client.body) == (b"before", b"after")
    assert len(world.upstream.calls) == 3


@simulated
async def test_a_reader_during_a_write_joins_nothing_from_before_it() -> None:
    """The write seals when it starts as well, so a reader in its middle asks anew, and others join that."""
    script = [
        answers(200, b"before", after_s=0.5),
        answers(204, b"", after_s=0.2),
        answers(200, b"during", after_s=0.3),
    ]
    world = World(script)
    early = world.get()
    await world.until_ms(100)
    write = world.patch()
    await world.until_ms(150)
    during, joined = world.get(), world.get()
    await finish(early, write, during, joined)
    assert (early.client.body, during.client.body, joined.client.body) == (b"before", b"during", b"during")
    assert len(world.upstream.calls) == 3


@simulated
async def test_a_reader_after_the_answer_joins_nothing_from_during_the_write() -> None:
    """A read begun in the write's middle may have seen either; who comes after the answer does not join it."""
    script = [answers(204, b"", after_s=0.2), answers(200, b"during", after_s=0.5), answers(200, b"after")]
    world = World(script)
    write = world.patch()
    await world.until_ms(100)
    during = world.get()
    await write.finish()
    after = world.get()
    await finish(during, after)
    assert (during.client.body, after.client.body) == (b"during", b"after")


@simulated
async def test_a_write_concerns_its_own_subject() -> None:
    """A write to one session leaves the flights of another alone."""
    world = World([answers(200, b"r2", after_s=0.5), answers(204, b"")])
    early = world.get("r2")
    await world.until_ms(100)
    await world.patch("r1").finish()
    late = world.get("r2")
    await finish(early, late)
    assert (early.client.body, late.client.body, len(world.upstream.calls)) == (b"r2", b"r2", 2)


@simulated
async def test_anothers_write_to_the_subject_counts() -> None:
    """A write seals its subject's reads whoever's they are."""
    world = World([answers(200, b"before", after_s=0.5), answers(204, b""), answers(200, b"after")])
    early = world.get(user="ada")
    await world.until_ms(100)
    await world.patch(user="bob").finish()
    late = world.get(user="ada")
    await finish(early, late)
    assert late.client.body == b"after"


@simulated
async def test_a_write_without_a_subject_makes_all_of_its_principals_reads_old() -> None:
    """A write that names no subject seals its own principal's reads, and nobody else's."""
    world = World(lambda request, number: answers(200, b"%d" % number, after_s=0.5))
    mine, others = world.get(user="ada"), world.get(user="bob")
    await world.until_ms(100)
    write = world.visit("POST", "/api/logout", b"", "ada")
    await world.until_ms(200)
    mine_again, others_again = world.get(user="ada"), world.get(user="bob")
    await finish(mine, others, write, mine_again, others_again)
    assert mine_again.client.body != mine.client.body
    assert others_again.client.body == others.client.body


@simulated
async def test_unsafe_flights_are_not_sealed() -> None:
    """A second create still joins the first while a third party writes to the subject."""
    world = World([answers(201, b"made", after_s=0.3), answers(204, b"")])
    first = world.create()
    await world.until_ms(100)
    await world.patch().finish()
    second = world.create()
    await finish(first, second)
    assert (second.status, second.client.body) == (201, b"made")
    assert world.upstream.said.count("POST /api/sessions") == 1


@simulated
async def test_a_kept_answer_is_read_for_its_two_seconds() -> None:
    """`reuse`: a remounted view gets the kept answer with its true Age; after two seconds it is asked for again."""
    world = World([answers(200, b"old", after_s=0.1), answers(200, b"new")])
    await world.history().finish()
    await world.until_ms(1300)
    again = await world.history().finish()
    await world.until_ms(2200)
    late = await world.history().finish()
    assert (again.client.body, again.client.fields.get(b"age"), again.waited_ms) == (b"old", b"1", 0)
    assert again.client.fields.get(b"cache-status") == b"backstay; hit; ttl=0"
    assert again.exchange.ending == "reused"
    assert late.client.body == b"new"


@simulated
async def test_a_kept_answer_is_its_principals() -> None:
    """What was kept for one user is never read by another."""
    world = World(lambda request, number: answers(200, request.fields.get(b"authorization") or b""))
    await world.history(user="ada").finish()
    other = await world.history(user="bob").finish()
    assert (other.client.body, len(world.upstream.calls)) == (b"bob", 2)


@simulated
async def test_a_write_drops_what_was_kept() -> None:
    """After a write to the subject nobody reads what was kept of it before."""
    world = World([answers(200, b"before"), answers(204, b""), answers(200, b"after")])
    await world.history().finish()
    await world.patch().finish()
    late = await world.history().finish()
    assert late.client.body == b"after"


@simulated
async def test_a_fill_begun_before_the_write_is_not_kept() -> None:
    """A read that was under way when the write came fills nothing."""
    world = World([answers(200, b"before", after_s=0.5), answers(204, b""), answers(200, b"after")])
    early = world.history()
    await world.until_ms(100)
    await world.patch().finish()
    await early.finish()
    assert world.store.cached == {}
    assert (await world.history().finish()).client.body == b"after"


@simulated
async def test_a_failed_write_drops_it_too() -> None:
    """A write whose outcome is unknown may have happened: what was kept before is dropped."""
    world = World([answers(200, b"before"), fails(), answers(200, b"after")], routes=(UPDATE, HISTORY))
    await world.history().finish()
    assert (await world.patch().finish()).status == 502
    assert (await world.history().finish()).client.body == b"after"


def bug() -> None:
    """Fail as no backend does."""
    raise RuntimeError("a bug")


@simulated
async def test_a_write_that_ends_with_a_bug_is_in_doubt() -> None:
    """It was sent: what was kept is old, and nothing is kept until the backend must be done with it."""
    broken = Step(Response(204, b"", Fields(()), b""), 0.1, effect=bug)
    world = World([answers(200, b"before"), broken, answers(200, b"after")])
    await world.history().finish()
    assert (await world.patch().finish()).status == 500
    assert [(await world.history().finish()).client.body for _ in range(2)] == [b"after"] * 2
    assert len(world.upstream.calls) == 4


@simulated
async def test_a_reload_asks_past_what_is_kept() -> None:
    """Every form in which a browser reloads skips the kept answer."""
    reloads = ({"Cache_Control": "no-cache"}, {"Cache_Control": "max-age=0"}, {"Pragma": "no-cache"})
    for reload in reloads:
        world = World([answers(200, b"old"), answers(200, b"new")])
        await world.history().finish()
        assert (await world.history(**reload).finish()).client.body == b"new", reload


@simulated
async def test_a_reload_joins_a_flight() -> None:
    """Cache-Control never prevents joining what is under way."""
    world = World([answers(200, b"one", after_s=0.1)])
    visitors = [world.history(), world.history(Cache_Control="no-cache")]
    await finish(*visitors)
    assert len(world.upstream.calls) == 1


@simulated
async def test_fallbacks_and_failures_are_not_kept() -> None:
    """Only a whole, successful answer from upstream is kept."""
    for step in (answers(503), answers(404), answers(200, b"", Set_Cookie="a=b"), fails()):
        world = World([step])
        await world.history().finish()
        assert world.store.cached == {}


@simulated
async def test_a_header_subject_seals_like_any_other() -> None:
    """The subject counts, wherever on the request it stood."""
    subject = SubjectRule("header", "X-Report")
    by_header = replace(UPDATE, operation="by-header", template="/api/touch", subject=subject)
    world = World([answers(200, b"before"), answers(204, b""), answers(200, b"after")], routes=(*ROUTES, by_header))
    await world.history("r9").finish()
    await world.visit("PATCH", "/api/touch", b"", "bob", X_Report="r9").finish()
    assert (await world.history("r9").finish()).client.body == b"after"


@simulated
async def test_nothing_is_kept_while_a_writes_outcome_is_unknown() -> None:
    """A write broke off; for its route's total timeout the backend may still do it, so no answer is kept.

    Before, the read right after the failure was kept, and read again after the write had come about all the same.
    """
    script = [fails(), answers(200, b"before it came about"), answers(200, b"after"), answers(200, b"unread")]
    world = World(script)
    assert (await world.patch().finish()).status == 502
    assert (await world.history().finish()).client.body == b"before it came about"
    await world.until_ms(1000)
    assert (await world.history().finish()).client.body == b"after"
    await world.until_ms(2000)
    assert (await world.history().finish()).client.body == b"unread"
    assert (await world.history().finish()).exchange.ending == "reused"
    assert len(world.upstream.calls) == 4


@simulated
async def test_a_fill_begun_in_doubt_is_not_kept_after_it() -> None:
    """What was asked while the write might still come about may show what was before it, whenever it arrives."""
    world = World([fails(), answers(200, b"before", after_s=1.5), answers(200, b"after")])
    await world.patch().finish()
    await world.until_ms(1000)
    await world.history().finish()
    assert world.store.cached == {}
    assert (await world.history().finish()).client.body == b"after"


@pytest.mark.parametrize("cut", [fails(Reason.RESPONSE_TIMEOUT), hangs(), answers(504), answers(502)])
@simulated
async def test_every_ending_without_a_final_answer_is_in_doubt(cut: Step) -> None:
    """A time-out, a hang, and a gateway's word for either."""
    world = World(lambda request, number: cut if request.method == "PATCH" else answers(200, b"read"))
    await world.patch().finish()
    await world.history().finish()
    assert world.store.cached == {}


@pytest.mark.parametrize("final", [answers(204, b""), answers(500), answers(422), fails(sent=False)])
@simulated
async def test_a_final_answer_leaves_no_doubt(final: Step) -> None:
    """Whoever was answered, or never reached the backend, knows; what is read then is kept."""
    world = World(lambda request, number: final if request.method == "PATCH" else answers(200, b"read"))
    await world.patch().finish()
    await world.history().finish()
    assert len(world.store.cached) == 1


@simulated
async def test_a_create_of_recoverys_own_may_be_in_doubt_too() -> None:
    """A read found nothing and the create that it led to broke off: its subject is in doubt."""
    rules = recovery_rules(on_missing=RequestTemplate("POST", "/api/sessions", {"reportId": "{subject}"}))
    routes = (replace(LOAD, recovery=rules), HISTORY)
    world = World([answers(404), fails(), answers(200, b"history")], routes=routes)
    await world.get().finish()
    await world.history().finish()
    assert world.store.cached == {}


@simulated
async def test_a_write_with_a_csrf_token_seals_its_users_lists() -> None:
    """The token makes the write another principal's, and it is the same user's all the same.

    Before, the list that was under way when the write came was joined after it.
    """
    world = World([answers(200, b"before", after_s=0.5), answers(204, b""), answers(200, b"after")])
    early = world.visit("GET", "/api/lists", b"", None, Cookie="sid=1")
    await world.until_ms(100)
    await world.visit("POST", "/api/lists", b"", None, Cookie="sid=1; csrf=2", X_CSRF_Token="t").finish()
    late = world.visit("GET", "/api/lists", b"", None, Cookie="sid=1")
    await finish(early, late)
    assert (early.client.body, late.client.body) == (b"before", b"after")


REFUSALS = [*(answers(status) for status in (400, 401, 403, 404, 409, 412, 422, 428, 429, 503)), fails(sent=False)]
OFFLINE = replace(HISTORY, recovery=recovery_rules(stale_if_error_s=600.0), retry=NO_RETRIES)
PLAIN_UPDATE = replace(UPDATE, retry=NO_RETRIES)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("writer", ["ada", "bob", None])
@simulated
async def test_a_refused_write_takes_nothing_away(refusal: Step, writer: str | None) -> None:
    """Whoever's it was: what was kept is read again, soon and in an outage.

    Before, a stranger's write that was answered 401 dropped everybody's offline copy of its subject.
    """
    writes = iter([refusal])
    reads = iter([answers(200, b"kept"), fails()])
    world = World(lambda request, number: next(reads if request.safe else writes), routes=(OFFLINE, PLAIN_UPDATE))
    await world.history().finish()
    await world.patch(user=writer).finish()
    if not (isinstance(refusal.outcome, Response) and refusal.outcome.status == 401 and writer == "ada"):
        again = await world.history().finish()
        assert (again.client.body, again.exchange.ending) == (b"kept", "reused")
        await world.until_ms(5000)
        stale = await world.history().finish()
        assert (stale.client.body, stale.exchange.ending) == (b"kept", "recovered")


@simulated
async def test_a_401_ends_what_was_kept_for_its_own_caller() -> None:
    """The backend does not know ada any more: what was kept for her is not read again; what was for bob is."""
    world = World(
        lambda request, number: answers(200, b"kept") if request.safe else answers(401), routes=(OFFLINE, PLAIN_UPDATE)
    )
    for user in ("ada", "bob"):
        await world.history(user=user).finish()
    await world.patch(user="ada").finish()
    assert (await world.history(user="bob").finish()).exchange.ending == "reused"
    assert (await world.history(user="ada").finish()).exchange.ending == "answered"


@simulated
async def test_a_401_with_a_cookie_that_many_have_ends_nothing_of_theirs() -> None:
    """One cookie in common names nobody: a stranger who shows it drops nothing of those who show more."""
    world = World(
        lambda request, number: answers(200, b"kept") if request.safe else answers(401), routes=(OFFLINE, PLAIN_UPDATE)
    )
    ada = {"Cookie": "consent=granted-2025; sid=ada-session"}
    await world.history(user=None, **ada).finish()
    await world.patch(user=None, Cookie="consent=granted-2025").finish()
    assert (await world.history(user=None, **ada).finish()).exchange.ending == "reused"


@simulated
async def test_what_is_kept_may_be_read_while_a_write_is_under_way() -> None:
    """Nothing is acknowledged yet, so both states are true; a write that is refused in the end cost nobody anything."""
    world = World(
        lambda request, number: answers(200, b"kept") if request.safe else answers(403, after_s=1.0),
        routes=(OFFLINE, PLAIN_UPDATE),
    )
    await world.history().finish()
    write = world.patch(user="bob")
    await world.until_ms(500)
    assert (await world.history().finish()).exchange.ending == "reused"
    await write.finish()
    assert (await world.history().finish()).exchange.ending == "reused"


@simulated
async def test_a_fill_from_before_a_write_that_succeeds_is_dropped_with_it() -> None:
    """A read that began before the write and arrived in its middle is kept until the write is done, and no longer."""
    script = {"GET": [answers(200, b"before", after_s=0.3), answers(200, b"after")], "PATCH": [answers(204, b"", 0.5)]}
    world = World(lambda request, number: script[request.method].pop(0), routes=(OFFLINE, PLAIN_UPDATE))
    early = world.history()
    await world.until_ms(100)
    write = world.patch()
    await finish(early, write)
    assert (await world.history().finish()).client.body == b"after"


@pytest.mark.parametrize(("answer", "ending"), [(answers(204, b""), "answered"), (answers(403), "reused")])
@simulated
async def test_a_log_out_that_is_refused_ends_nothing(answer: Step, ending: str) -> None:
    """`ends_session` counts where the log-out was done."""
    logout = changed(UPDATE, operation="logout", template="/api/logout", subject=None, ends_session=True, method="POST")
    world = World(lambda request, number: answers() if request.safe else answer, routes=(OFFLINE, logout))
    await world.history().finish()
    await world.visit("POST", "/api/logout").finish()
    assert (await world.history().finish()).exchange.ending == ending


class SlowReplicas:
    """Other replicas, which are informed after a while."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def flushed(self) -> None:
        await self._world.clock.sleep(0.04)


CREATION = RequestTemplate("POST", "/api/sessions", {"reportId": "r1"})
MISSING = replace(LOAD, recovery=recovery_rules(on_missing=CREATION))


@simulated
@pytest.mark.parametrize(
    ("method", "script", "status"),
    [
        ("PATCH", [answers(204, b"")], 204),
        ("PATCH", [answers(401)], 401),
        ("GET", [answers(401)], 401),
        ("GET", [answers(404), answers(201), answers(200)], 200),
    ],
    ids=["a write", "a write without a session", "a read without a session", "a read whose session was created"],
)
async def test_replicas_know_what_is_invalid_before_the_client_has_its_answer(
    method: str, script: list[Step], status: int
) -> None:
    """A client that then asks another replica is given nothing from before."""
    world = World(script, routes=(MISSING, *(route for route in ROUTES if route is not LOAD)))
    world.ports = replace(world.ports, replicas=SlowReplicas(world))
    visitor = world.visit(method, "/api/sessions/r1", b"" if method == "GET" else b"{}")
    await visitor.finish()
    assert (visitor.status, now_ms()) == (status, 40)
