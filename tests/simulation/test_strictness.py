"""Routes that are stricter than the default: no-store honoured, reloads that lead, sessions that end."""

from dataclasses import replace

from tests.settings import changed
from tests.simulation.scripted import answers
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, HISTORY, LOAD, UPDATE, World, finish


@simulated
async def test_no_store_is_shared_by_default_and_not_where_the_route_honours_it() -> None:
    """Ten tabs share a no-store answer in one call; with honour_no_store the followers ask for themselves."""
    script = [answers(after_s=0.1, cache_control="no-store")]
    shared = World(script)
    await finish(*[shared.get() for _ in range(10)])
    assert len(shared.upstream.calls) == 1
    strict = World(script, routes=(replace(LOAD, honour_no_store=True),))
    await finish(*[strict.get() for _ in range(10)])
    assert len(strict.upstream.calls) == 10


@simulated
async def test_a_reload_leads_where_the_route_says_so() -> None:
    """No-cache joins a flight like any other; no_cache_leads = true opts out."""
    script = [answers(after_s=0.1)]
    joins = World(script)
    await finish(joins.get(), joins.get(Cache_Control="no-cache"))
    assert len(joins.upstream.calls) == 1
    leads = World(script, routes=(replace(LOAD, no_cache_leads=True),))
    await finish(leads.get(), leads.get(Cache_Control="no-cache"))
    assert len(leads.upstream.calls) == 2


@simulated
async def test_the_end_of_a_session_drops_what_was_kept_for_it() -> None:
    """A write to a route with ends_session drops all of the principal's kept answers, whatever their subject."""
    routes = (HISTORY, changed(UPDATE, ends_session=True))
    world = World([answers()], routes=routes)
    await world.history("a").finish()
    await world.history("a", user="bob").finish()
    await world.patch("b").finish()
    await world.history("a").finish()
    await world.history("a", user="bob").finish()
    assert [call.said for call in world.upstream.calls].count("GET /api/history/a") == 3


@simulated
async def test_a_401_drops_what_was_kept_for_the_principal() -> None:
    """Once the upstream says 401, nothing kept for that principal is given any more."""
    world = World(lambda request, number: answers(401 if request.path.endswith(b"/gone") else 200))
    await world.history("a").finish()
    assert (await world.history("gone").finish()).status == 401
    await world.history("a").finish()
    assert len(world.upstream.calls) == 3


@simulated
async def test_creates_beyond_the_limit_are_told_so() -> None:
    """A create that has no place is refused with 503 and connection_limit_reached, never sent alone."""
    world = World([answers(201, after_s=0.1)], routes=(replace(CREATE, max_followers=1),))
    visitors = [world.create() for _ in range(3)]
    await finish(*visitors)
    assert sorted(visitor.status for visitor in visitors) == [201, 201, 503]
    refused = next(visitor for visitor in visitors if visitor.status == 503)
    assert refused.client.fields.get(b"proxy-status") == b"backstay; error=connection_limit_reached"
