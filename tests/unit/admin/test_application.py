"""The admin listener: every client may read, only the bearer of the token may change or export."""

import csv
import json
import re
import socket
from io import StringIO
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse, ClientSession
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from proxy.admin.admin_listener import start_admin
from proxy.errors import StartError
from proxy.policy.breaker import CircuitMode, CircuitState
from proxy.policy.restoration import Half, HalfResult, Step
from tests.settings import admin_settings
from tests.unit.admin.sidecar import BEARER, Sidecar, client_of

GUARDED = [
    ("POST", "/circuits/sessions/reset"),
    ("POST", "/circuits/sessions/open"),
    ("POST", "/circuits/sessions/close"),
    ("POST", "/circuits/sessions/auto"),
    ("POST", "/switches/retries/off"),
    ("POST", "/drain"),
    ("DELETE", "/kept?subject=val_123"),
    ("GET", "/audit"),
    ("GET", "/restorations/val_123"),
]


async def problem(response: ClientResponse) -> dict[str, Any]:
    """Return the problem document of a refusal, after checking that it is one."""
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = await response.json()
    assert document["status"] == response.status
    return document


async def test_alive_says_yes_even_while_draining(client: ClientSession, sidecar: Sidecar) -> None:
    """A sidecar that drains is alive: restarting it would cut what is under way."""
    sidecar.ready = False
    async with client.get("/healthz") as response:
        assert response.status == 200


async def test_ready_depends_on_nothing_but_starting_and_draining(client: ClientSession, sidecar: Sidecar) -> None:
    """A failing backend must not take its sidecar out."""
    sidecar.trip("sessions")
    async with client.get("/readyz") as response:
        assert response.status == 200
    sidecar.ready = False
    async with client.get("/readyz") as response:
        assert response.status == 503
        assert (await problem(response))["detail"] == "The sidecar is starting or draining."


async def test_metrics_are_negotiated(client: ClientSession, sidecar: Sidecar) -> None:
    """A plain scrape gets the text form, one that asks for OpenMetrics gets that; the process is in both."""
    sidecar.metrics.coalesced("history", "joined")
    async with client.get("/metrics", headers={"Accept": "text/plain"}) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    joined = [s.value for s in families["backstay_coalesced"].samples if s.labels["role"] == "joined"]
    assert joined == [1.0]
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= families.keys()
    async with client.get("/metrics", headers={"Accept": "application/openmetrics-text"}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")


async def test_stats_are_the_seeds_figures(client: ClientSession, sidecar: Sidecar) -> None:
    """The session metrics come as one JSON object, null where there is nothing to tell yet."""
    sidecar.metrics.finished("session-create", "POST", 201, "answered", 0.25, "ideal")
    async with client.get("/stats") as response:
        stats = await response.json()
    assert (stats["successRate"], stats["avgCreationTime_ms"], stats["avgRestorationTime_ms"]) == (1.0, 250.0, None)


async def test_circuits_tell_their_whole_state(client: ClientSession, sidecar: Sidecar) -> None:
    """An operator sees since when a circuit is open, and when it asks its upstream again."""
    sidecar.trip("sessions")
    sidecar.now += 10
    async with client.get("/circuits") as response:
        sessions, restoration = await response.json()
    assert sessions == {
        "name": "sessions",
        "state": "OPEN",
        "failures": 5,
        "opened_ago_s": 10.0,
        "probes_in_s": 20.0,
        "mode": "auto",
        "repr": repr(sidecar.circuits["sessions"]),
    }
    assert (restoration["state"], restoration["opened_ago_s"], restoration["probes_in_s"]) == ("CLOSED", None, 0.0)


@pytest.mark.parametrize(
    ("action", "mode"),
    [("open", CircuitMode.FORCED_OPEN), ("close", CircuitMode.FORCED_CLOSED), ("auto", CircuitMode.AUTO)],
)
async def test_an_operator_decides_for_one_circuit(
    client: ClientSession, sidecar: Sidecar, action: str, mode: CircuitMode
) -> None:
    """The named circuit takes the mode, the answer shows it, the other circuit stays as it was."""
    sidecar.circuits["sessions"].force(CircuitMode.OBSERVE, 0.0)
    async with client.post(f"/circuits/sessions/{action}", headers=BEARER) as response:
        assert (response.status, (await response.json())["mode"]) == (200, mode.value)
    assert sidecar.circuits["sessions"].mode is mode
    assert sidecar.circuits["restoration"].mode is CircuitMode.AUTO


async def test_reset_closes_an_open_circuit(client: ClientSession, sidecar: Sidecar) -> None:
    """The seed's manual reset: closed, and the failures forgotten."""
    sidecar.trip("sessions")
    async with client.post("/circuits/sessions/reset", headers=BEARER) as response:
        view = await response.json()
    assert (view["state"], view["failures"]) == ("CLOSED", 0)
    assert sidecar.circuits["sessions"].state is CircuitState.CLOSED


async def test_a_routes_circuit_is_listed_while_there_is_something_to_tell(
    client: ClientSession, sidecar: Sidecar
) -> None:
    """Beside the configured circuits, which come first: one that has failed, or that an operator has overridden."""

    async def names() -> list[str]:
        async with client.get("/circuits") as response:
            return [circuit["name"] for circuit in await response.json()]

    assert await names() == ["sessions", "restoration"]
    sidecar.trip("sessions:load")
    assert await names() == ["sessions", "restoration", "sessions:load"]
    async with client.post("/circuits/sessions:history/close", headers=BEARER) as response:
        assert (await response.json())["mode"] == "close"
    assert await names() == ["sessions", "restoration", "sessions:history", "sessions:load"]


@pytest.mark.parametrize("name", ["sessions:load", "sessions%3Aload", "sessions"])
async def test_reset_of_a_circuit_resets_those_of_its_routes(
    client: ClientSession, sidecar: Sidecar, name: str
) -> None:
    """A backend that was mended gets requests of every route again."""
    sidecar.trip("sessions:load")
    async with client.post(URL(f"/circuits/{name}/open", encoded=True), headers=BEARER) as response:
        assert response.status == 200
    async with client.post(URL(f"/circuits/{name}/auto", encoded=True), headers=BEARER) as response:
        assert response.status == 200
    assert sidecar.route_circuits["sessions:load"].state is CircuitState.OPEN
    async with client.post(URL(f"/circuits/{name}/reset", encoded=True), headers=BEARER) as response:
        assert (await response.json())["state"] == "CLOSED"
    assert sidecar.route_circuits["sessions:load"].quiet


async def test_an_unknown_circuit_is_told_the_right_names(client: ClientSession) -> None:
    """A wrong name is a 404 that lists the names there are."""
    async with client.post("/circuits/session/reset", headers=BEARER) as response:
        assert response.status == 404
        detail = (await problem(response))["detail"]
    assert detail == "No circuit is called 'session': there are restoration, sessions."
    async with client.post("/circuits/sessions:nope/reset", headers=BEARER) as response:
        detail = (await problem(response))["detail"]
    assert "there are restoration, sessions, sessions:history, sessions:load." in detail


async def test_switches_turn_things_off_and_on(client: ClientSession, sidecar: Sidecar) -> None:
    """A switch answers with all positions, and anybody may read them."""
    async with client.post("/switches/retries/off", headers=BEARER) as response:
        assert await response.json() == {"retries": False, "coalescing": True}
    async with client.get("/switches") as response:
        assert await response.json() == sidecar.switches
    async with client.post("/switches/retries/on", headers=BEARER) as response:
        assert await response.json() == {"retries": True, "coalescing": True}
    async with client.post("/switches/retry/on", headers=BEARER) as response:
        assert response.status == 404
        assert "coalescing, retries" in (await problem(response))["detail"]


async def test_drain_begins_and_answers_at_once(client: ClientSession, sidecar: Sidecar) -> None:
    """The answer does not wait for the end of the drain."""
    async with client.post("/drain", headers=BEARER) as response:
        assert response.status == 202
    assert sidecar.draining


async def test_what_is_kept_of_one_subject_is_erased(client: ClientSession, sidecar: Sidecar) -> None:
    """The subject is taken as it is written, and the answer counts; without a subject nothing is erased."""
    async with client.delete("/kept", params={"subject": "val 1/ü"}, headers=BEARER) as response:
        counts = {"cached": 3, "idempotent": 2, "restorations": 1}
        assert await response.json() == {"subject": "val 1/ü", "status": "dropped", **counts}
    async with client.delete("/kept", headers=BEARER) as response:
        assert response.status == 400
    assert sidecar.erased == ["val 1/ü"]


async def test_erasure_says_where_it_is_not_whole(client: ClientSession, sidecar: Sidecar) -> None:
    """While the store was away the answer said "dropped" too."""
    sidecar.store_away = True
    async with client.delete("/kept", params={"subject": "val_1"}, headers=BEARER) as response:
        assert response.status == 503
        assert "the store (store.url) could not be reached" in (await problem(response))["detail"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Bearer ", "Basic open-sesame", "open-sesame", "Bearer ü"]
)
async def test_without_the_token_nothing_happens(
    client: ClientSession, sidecar: Sidecar, method: str, path: str, authorization: str | None
) -> None:
    """A missing or wrong token is a 401 that says how to authenticate, and nothing is done."""
    headers = {"Authorization": authorization} if authorization else {}
    before = (repr(sidecar.circuits), dict(sidecar.switches))
    async with client.request(method, path, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        await problem(response)
    assert (repr(sidecar.circuits), dict(sidecar.switches), sidecar.draining, sidecar.erased) == (*before, False, [])


@pytest.mark.parametrize("token", [None, ""])
async def test_where_no_token_is_configured_nobody_is_let_in(sidecar: Sidecar, token: str | None) -> None:
    """An empty token is no token: it opens nothing, not even to an empty bearer."""
    sidecar.token = token
    async with client_of(sidecar) as client:
        for method, path in GUARDED:
            async with client.request(method, path, headers={"Authorization": "Bearer "}) as response:
                assert response.status == 403
                assert "admin.token" in (await problem(response))["detail"]
    assert not sidecar.draining


async def test_the_scheme_is_case_insensitive(client: ClientSession, sidecar: Sidecar) -> None:
    """RFC 9110 section 11.1: `bearer` is `Bearer`."""
    async with client.post("/drain", headers={"Authorization": "bearer  open-sesame"}) as response:
        assert response.status == 202


RECORDS: list[dict[str, object]] = [
    {"seq": 1, "operation": "session-create", "subject": "val_1", "correlation_id": "a", "success": True},
    {"seq": 2, "operation": "history", "subject": "val_1", "correlation_id": "b", "success": False},
    {"seq": 3, "operation": "history", "subject": "=cmd()", "correlation_id": "c", "success": False},
    {"seq": 4, "gap": 7},
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [1, 2, 3, 4]),
        ({"report_id": "val_1"}, [1, 2]),
        ({"operation": "history"}, [2, 3]),
        ({"correlation_id": "c"}, [3]),
        ({"failures": "true"}, [2, 3]),
        ({"failures": ""}, [2, 3]),
        ({"failures": "false"}, [1, 2, 3, 4]),
        ({"report_id": "val_1", "failures": "1"}, [2]),
        ({"report_id": "nobody"}, []),
    ],
)
async def test_audit_is_filtered(
    client: ClientSession, sidecar: Sidecar, query: dict[str, str], found: list[int]
) -> None:
    """Every condition must hold; what is left keeps its order."""
    sidecar.newest.extend(map(orjson.dumps, RECORDS))
    async with client.get("/audit", params=query, headers=BEARER) as response:
        assert [record["seq"] for record in await response.json()] == found


async def test_audit_as_csv(client: ClientSession, sidecar: Sidecar) -> None:
    """A head line and one row a record; what a spreadsheet would run is defused."""
    sidecar.newest.extend(map(orjson.dumps, RECORDS))
    async with client.get("/audit", params={"format": "csv", "operation": "history"}, headers=BEARER) as response:
        assert response.content_type == "text/csv"
        rows = list(csv.DictReader(StringIO(await response.text())))
    assert [(row["seq"], row["subject"]) for row in rows] == [("2", "val_1"), ("3", "'=cmd()")]


async def test_the_configured_format_holds_where_the_query_names_none(client: ClientSession, sidecar: Sidecar) -> None:
    """`audit.export_format` is the default, and a query that names a format has that one."""
    sidecar.export_format = "csv"
    async with client.get("/audit", headers=BEARER) as response:
        assert response.content_type == "text/csv"
    async with client.get("/audit", params={"format": "json"}, headers=BEARER) as response:
        assert response.content_type == "application/json"


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ({"reportid": "val_1"}, "report_id"),
        ({"format": "xml"}, "json or csv"),
        ({"failures": "maybe"}, "true or false"),
    ],
)
async def test_a_typing_error_is_not_an_answer(client: ClientSession, query: dict[str, str], hint: str) -> None:
    """A filter that does not exist must not return everything."""
    async with client.get("/audit", params=query, headers=BEARER) as response:
        assert response.status == 400
        assert hint in (await problem(response))["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("GET", "/drain", 405),
        ("POST", "/circuits/sessions/melt", 404),
        ("POST", "/switches/retries/maybe", 404),
    ],
)
async def test_what_does_not_exist_is_a_problem_document(
    client: ClientSession, method: str, path: str, status: int
) -> None:
    """The listener speaks one language, for its router's refusals too."""
    async with client.request(method, path, headers=BEARER) as response:
        assert response.status == status
        assert (await problem(response))["detail"]
        assert ("Allow" in response.headers) == (status == 405)


async def test_a_bug_is_a_problem_document_without_a_traceback(client: ClientSession, sidecar: Sidecar) -> None:
    """What went wrong stands in the log and not in the answer."""
    sidecar.circuits["broken"] = None  # type: ignore[assignment]  # the bug
    async with client.get("/circuits") as response:
        assert response.status == 500
        assert "NoneType" not in (await problem(response))["detail"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/stats", "/circuits", "/nothing"])
async def test_nothing_is_kept_by_anyone(client: ClientSession, path: str) -> None:
    """Every answer is a moment's state."""
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"


async def test_every_link_of_the_page_answers(client: ClientSession) -> None:
    """The page at / leads to what can be seen without a token, and to its own style and script."""
    async with client.get("/") as response:
        links = re.findall(r'(?:href|src)="([^"]+)"', await response.text())
    assert len(links) == 9
    for link in links:
        async with client.get(link) as response:
            assert response.status == 200


async def test_a_taken_port_is_one_clear_line(sidecar: Sidecar) -> None:
    """Two sidecars on one admin address: the second says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError) as refusal:
            await start_admin(sidecar.control(), admin_settings(address))
    assert str(refusal.value) == f"cannot listen on {address} (admin.address): address already in use"


@pytest.mark.parametrize("address", ["9901", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", ":٣"])
async def test_an_address_that_is_none_is_one_clear_line(sidecar: Sidecar, address: str) -> None:
    """The message shows what to write instead."""
    with pytest.raises(StartError, match="write HOST:PORT"):
        await start_admin(sidecar.control(), admin_settings(address))


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback: many containers have none."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
async def test_an_ipv6_address_is_written_in_brackets_both_ways(sidecar: Sidecar) -> None:
    """The address is read as it is printed, and the URL can be opened."""
    listener = await start_admin(sidecar.control(), admin_settings("[::1]:0"))
    assert listener.url == f"http://[::1]:{listener.port}"
    async with ClientSession() as session, session.get(f"{listener.url}/healthz") as response:
        assert response.status == 200
    await listener.close()


async def test_a_subject_that_nobody_restored_is_not_restored(client: ClientSession) -> None:
    """The seed's initial state is an answer, not an error."""
    async with client.get("/restorations/val_9", headers=BEARER) as response:
        assert (response.status, await response.json()) == (
            200, {"subject": "val_9", "state": "NotRestored", "restorations": []}
        )  # fmt: skip


async def test_a_subjects_restorations_are_told_with_their_ids(client: ClientSession, sidecar: Sidecar) -> None:
    """State, time and correlation ids, for each user of it; a subject may hold any character."""
    for half, began in ((Half.STATUS, 99.0), (Half.HISTORY, 99.4)):
        sidecar.restorations.take("a/b", 1, Step(half, HalfResult.CONTENT, began, began + 0.2, half.value))
    async with client.get("/restorations/a%2Fb", headers=BEARER) as response:
        told = await response.json()
    assert told == {
        "subject": "a/b",
        "state": "Restored",
        "restorations": [
            {"state": "Restored", "ms": 600.0, "ended_ago_s": 0.4, "correlation_ids": ["status", "history"]}
        ],
    }


async def test_events_tell_the_figures_and_end_with_the_listener(sidecar: Sidecar) -> None:
    """A viewer gets the figures at once; closing the listener waits for no viewer."""
    sidecar.metrics.finished("history", "GET", 200, "answered", 0.3, "ideal")
    sidecar.trip("restoration")
    async with client_of(sidecar) as client:
        response = await client.get("/events")
        assert response.content_type == "text/event-stream"
        figures = json.loads((await response.content.readline()).removeprefix(b"data: "))
    response.close()
    (history, _) = figures["routes"]
    assert (history["name"], history["count"], history["succeeded"]) == ("history", 1, 1)
    assert history["target"] == [0.5, 1.0, 2.0]
    assert [circuit["state"] for circuit in figures["circuits"]] == ["CLOSED", "OPEN"]


async def test_the_page_may_load_nothing_from_elsewhere(client: ClientSession) -> None:
    """Its own policy tells the browser so."""
    async with client.get("/") as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")


async def test_audit_can_be_limited_to_the_newest(client: ClientSession, sidecar: Sidecar) -> None:
    """A page asks for what it shows, not for ten thousand records."""
    sidecar.newest += [orjson.dumps({"operation": "history", "seq": n}) for n in range(5)]
    async with client.get("/audit?limit=2", headers=BEARER) as response:
        assert [record["seq"] for record in await response.json()] == [3, 4]
    async with client.get("/audit?limit=-2", headers=BEARER) as response:
        assert (await problem(response))["detail"] == "limit=-2 is not a number of records."


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("since=2026-11-30T12:00:01Z", [1, 2]),
        ("since=2026-11-30T14:00:01%2B02:00", [1, 2]),
        ("since=2026-11-30T07:00:01-05:00", [1, 2]),
        ("since=2026-11-30T12:00:01", [1, 2]),
        ("since=2026-11-30T12:00:00.5Z", [1, 2]),
        ("since=2026-11-30", [0, 1, 2]),
        ("until=2026-11-30", []),
        ("until=2026-11-30T07:00:02-05:00", [0, 1]),
        ("since=2026-11-30T12:00:01Z&until=2026-11-30T14:00:02%2B02:00", [1]),
    ],
)
async def test_audit_compares_instants(client: ClientSession, sidecar: Sidecar, query: str, seqs: list[int]) -> None:
    """The same instant selects the same records, whatever its offset."""
    stamps = [f"2026-11-30T12:00:0{n}.000000Z" for n in range(3)]
    sidecar.newest += [orjson.dumps({"seq": n, "ts": ts}) for n, ts in enumerate(stamps)]
    async with client.get(URL(f"/audit?{query}", encoded=True), headers=BEARER) as response:
        assert [record["seq"] for record in await response.json()] == seqs


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("text", ["", "garbage", "2026-13-45", "1764504000", "2026-11-30T12:00:00+02:00"])
async def test_audit_refuses_what_is_no_time(client: ClientSession, name: str, text: str) -> None:
    """A typing error must not look like a result. A + that is not escaped is a space in a query."""
    async with client.get(URL(f"/audit?{name}={text}", encoded=True), headers=BEARER) as response:
        detail = (await problem(response))["detail"]
    assert (response.status, detail.startswith(f"{name}='")) == (400, True)
    assert "write 2026-11-23T15:00:00Z" in detail
