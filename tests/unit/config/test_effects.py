"""Every setting is read outside `proxy/config`, and every setting has a test that fails where it is ignored."""

import ast
import asyncio
from functools import cache
from pathlib import Path

import pytest
import uvloop

from proxy import process
from proxy.cli.audit import TRAIL
from proxy.cli.commands import DEFAULT_ADMIN
from proxy.config.field_types import Section
from proxy.config.principal_table import PrincipalTable
from proxy.config.routes import (
    Cors,
    FallbackTable,
    OnMissing,
    Retry,
    RouteSettings,
    RouteTable,
    TargetTable,
)
from proxy.config.settings import (
    Admin,
    Audit,
    Breaker,
    Listen,
    Log,
    Settings,
    StoreTable,
    UpstreamTable,
)
from proxy.signals import ProcessSignals
from proxy.store.bundle import MemoryBundle, open_store
from proxy.store.redis_connection import StoreDown
from proxy.store.shared import RedisBundle
from tests.simulation import test_settings as simulated
from tests.simulation.virtual import VirtualClock, now_ms
from tests.simulation.virtual import simulated as simulated_time
from tests.unit.audit import test_settings as audited

ROOT = Path(__file__).parents[3]
PROXY = ROOT / "proxy"
# The rooms that may read a table. Names recur, so a wider search would find them elsewhere.
READERS: dict[type[Section], tuple[str, ...]] = {
    Settings: ("app.py", "assembly.py", "loaded.py", "process.py", "cli/check.py", "policy/route_compiler.py"),
    Listen: ("app.py", "assembly.py", "loaded.py", "process.py", "server/*.py", "http1/head.py"),
    Admin: ("app.py", "admin/*.py", "process.py", "config/load.py"),
    Audit: ("app.py", "audit/*.py"),
    StoreTable: ("app.py", "store/*.py", "store/disk/*.py"),
    Log: ("process.py",),
    UpstreamTable: ("assembly.py", "loaded.py", "policy/route_compiler.py", "upstream/pool_limits.py"),
    Breaker: ("policy/breaker.py",),
    RouteTable: ("assembly.py", "route_changes.py", "exchange/*.py", "policy/*.py"),
    Retry: ("policy/retry.py", "assembly.py"),
    TargetTable: ("policy/latency_target.py",),
    FallbackTable: ("policy/recovery_plan.py",),
    OnMissing: ("policy/recovery_plan.py",),
    Cors: ("assembly.py",),
    PrincipalTable: ("policy/token_rules.py", "principals/*.py"),
}
# Read through a property of the model or by its validator: `RouteTable.template`, `Settings.breakers`, what a route
# inherits. The simulation changes them.
THROUGH_A_PROPERTY = {"match", "circuits", "breaker", "defaults"}
# A test of each setting that neither the simulation nor the test of the trail changes.
LIMITS, POOL, CONTROL = "wire/test_limits.py", "wire/test_pool.py", "wire/test_control_plane.py"
HERE = "wire/test_settings.py"
PROVEN = {
    "listen.address": ("wire/test_forwarding.py", "test_both_legs_may_be_sockets_in_the_file_system"),
    "listen.socket_mode": (HERE, "test_the_mode_of_a_socket"),
    "listen.drain_delay": (HERE, "test_the_delay_of_a_drain"),
    "listen.drain_timeout": ("wire/test_drain.py", "test_streams_are_cut_at_the_deadline"),
    "listen.via": ("wire/test_forwarding.py", "test_it_can_be_told_in_the_standard_s_words_or_not_at_all"),
    "listen.forwarded": ("wire/test_forwarding.py", "test_it_can_be_told_in_the_standard_s_words_or_not_at_all"),
    "listen.max_connections": (LIMITS, "test_too_many_connections_are_told_so"),
    "listen.max_memory": (LIMITS, "test_a_used_up_memory_budget_refuses_requests"),
    "listen.max_head": (HERE, "test_a_limit_of_a_head"),
    "listen.max_fields": (HERE, "test_a_limit_of_a_head"),
    "listen.max_target": (HERE, "test_a_limit_of_a_head"),
    "listen.underscores": ("wire/test_small_print.py", "test_fields_with_underscores_can_be_refused"),
    "listen.head_timeout": (LIMITS, "test_a_slow_head_gets_408_at_its_time"),
    "listen.keepalive_timeout": (LIMITS, "test_an_idle_connection_is_closed_without_a_word"),
    "listen.idle_timeout": (LIMITS, "test_a_reader_that_takes_nothing_is_cut"),
    "listen.tunnel_timeout": ("wire/test_tunnels.py", "test_its_own_idle_time_ends_it"),
    "listen.tls_certificate": ("wire/test_tls.py", "test_the_listener_speaks_tls_and_shows_a_renewed_certificate"),
    "listen.tls_key": (HERE, "test_a_key_in_a_file_of_its_own"),
    "listen.tls_client_ca": ("wire/test_trust.py", "test_whom_a_removed_authority_vouches_for_is_not_let_in"),
    "admin.address": (CONTROL, "test_the_control_plane_listens_on_a_unix_socket"),
    "admin.socket_mode": (HERE, "test_the_mode_of_a_socket"),
    "admin.allowed_hosts": (CONTROL, "test_who_asks_by_an_address_or_an_own_name_is_answered"),
    "admin.max_connections": (CONTROL, "test_a_newcomer_takes_the_place_of_who_has_waited_longest"),
    "admin.max_viewers": (CONTROL, "test_viewers_of_one_address_do_not_lock_out_the_others"),
    "admin.head_timeout": (CONTROL, "test_a_slow_head_is_told_so"),
    "admin.keepalive_timeout": (CONTROL, "test_a_kept_connection_is_closed_without_a_word"),
    "admin.idle_timeout": (CONTROL, "test_who_takes_nothing_of_an_answer_is_cut"),
    "admin.token": ("wire/test_reload.py", "test_a_token_that_was_replaced_opens_nothing"),
    "admin.token_file": ("wire/test_reload.py", "test_a_token_that_was_replaced_opens_nothing"),
    "store.url": ("unit/config/test_effects.py", "test_a_store_in_redis_has_its_name_and_its_time"),
    "store.namespace": ("unit/config/test_effects.py", "test_a_store_in_redis_has_its_name_and_its_time"),
    "store.timeout": ("unit/config/test_effects.py", "test_a_store_in_redis_has_its_name_and_its_time"),
    "store.key_file": ("e2e/store/test_durable_files.py", "test_a_folder_has_no_word_of_what_is_in_it"),
    "store.sync_timeout": ("unit/store/disk/test_disk_writer.py", "test_a_disk_that_hangs_is_waited_for_so_long"),
    "log.level": ("unit/config/test_effects.py", "test_the_log_is_as_the_settings_say"),
    "log.format": ("unit/config/test_effects.py", "test_the_log_is_as_the_settings_say"),
    "upstream.url": (POOL, "test_a_connection_is_used_again"),
    "upstream.connect_timeout": ("wire/test_handshakes.py", "test_a_backend_that_never_shakes_hands_is_left_in_time"),
    "upstream.max_idle": (HERE, "test_the_idle_connections_of_an_upstream"),
    "upstream.idle_timeout": (HERE, "test_the_idle_time_of_an_upstream"),
    "upstream.max_connections": (POOL, "test_the_pool_is_bounded_and_those_beyond_stand_in_line"),
    "upstream.queue": (POOL, "test_a_line_that_is_full_or_too_slow_is_a_503"),
    "upstream.queue_timeout": (POOL, "test_a_line_that_is_full_or_too_slow_is_a_503"),
    "upstream.tls_ca": ("wire/test_tls.py", "test_the_backend_may_speak_tls_and_must_be_vouched_for"),
    "upstream.tls_certificate": (HERE, "test_a_key_in_a_file_of_its_own"),
    "upstream.tls_key": (HERE, "test_a_key_in_a_file_of_its_own"),
    "route.replay_limit": ("wire/test_interim.py", "test_a_body_that_is_streamed_is_asked_for_by_the_backend"),
    "route.max_body": ("wire/test_hostile_requests.py", "test_a_body_over_its_route_s_limit_is_refused"),
    "route.idle_timeout": ("wire/test_endings.py", "test_a_route_s_own_idle_time_holds_for_answers"),
}


@cache
def _read(pattern: str) -> frozenset[str]:
    """Return the names of the attributes that the files of a room read."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PROXY.glob(pattern))]
    assert trees, pattern
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return frozenset(node.attr for node in nodes if isinstance(node.ctx, ast.Load))


@pytest.mark.parametrize("model", READERS, ids=lambda model: model.__name__)
def test_a_setting_is_read_where_it_has_its_effect(model: type[Section]) -> None:
    """A field that nothing outside of the configuration reads is ignored."""
    read = frozenset[str]().union(*(_read(pattern) for pattern in READERS[model]))
    assert model.model_fields.keys() - read - THROUGH_A_PROPERTY == set()


def test_every_table_is_looked_at() -> None:
    """A new table has its readers above; a table that another extends is looked at there."""
    tables = [each for each in Section.__subclasses__() if each.__module__.startswith("proxy.config")]
    assert set(tables) - {RouteSettings} == READERS.keys() - {RouteTable}


def test_every_setting_has_a_test() -> None:
    """Those of routes, circuits and the trail have tables of their own, which are complete."""
    elsewhere = {key.replace("upstreams.sessions.", "upstream.") for key in simulated.OTHER}
    tables: dict[str, type[Section]] = {
        "listen": Listen,
        "admin": Admin,
        "store": StoreTable,
        "log": Log,
        "upstream": UpstreamTable,
    }
    keys = {f"{table}.{name}" for table, model in tables.items() for name in model.model_fields} - {"upstream.breaker"}
    keys |= {f"route.{name}" for name in simulated.ON_THE_WIRE}
    assert PROVEN.keys() == keys - elsewhere
    assert elsewhere - keys == {"dry_run"}


@pytest.mark.parametrize("key", PROVEN)
def test_the_named_test_is_there_and_names_the_setting(key: str) -> None:
    """A test that was renamed or dropped is missed here."""
    file, name = PROVEN[key]
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert f"def {name}(" in text
    assert key.partition(".")[2] in text


def test_the_other_named_tests_are_there() -> None:
    """The trail's test names files."""
    for name, file in audited.PROVEN_ELSEWHERE.items():
        assert name in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("setting", "value"), [("namespace", "other"), ("timeout", "30ms")])
def test_a_store_in_redis_has_its_name_and_its_time(setting: str, value: str) -> None:
    """Its keys begin with `namespace`, and a command that takes longer than `timeout` is given up."""
    url = "redis://127.0.0.1:1"
    (key, waited_ms), (other_key, other_ms) = (_stored({"url": url, **changes}) for changes in ({}, {setting: value}))
    assert (key, other_key) == ("backstay:a", "other:a" if setting == "namespace" else "backstay:a")
    assert other_ms == waited_ms if setting == "namespace" else other_ms < waited_ms
    assert isinstance(open_store(StoreTable(), "", VirtualClock(), _ignore), MemoryBundle)


def _stored(table: dict[str, str]) -> tuple[str, float]:
    """Return a key, and after how many milliseconds a command was given up."""
    seen: list[tuple[str, float]] = []

    @simulated_time
    async def play() -> None:
        bundle = open_store(StoreTable.model_validate(table), "", VirtualClock(), _ignore)
        assert isinstance(bundle, RedisBundle)
        connection = bundle._connection
        connection._health.reached()
        with pytest.raises(StoreDown):
            await connection.run("get", asyncio.Event().wait)
        seen.append((connection.key("a"), now_ms()))

    play()
    return seen[0]


def _ignore(operation: str) -> None:
    """Count nothing."""


def test_the_log_is_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """`[log]` goes to `configure`, whose own tests say what it does with it."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(process, "configure", lambda level, form: told.append((level, form)))
    monkeypatch.setattr(uvloop, "run", lambda running: running.close())
    for document in ({}, {"level": "debug", "format": "text"}):
        process.serve(Settings.model_validate({"log": document}), Settings, ProcessSignals(), lambda: 0)
    assert told == [("info", "json"), ("debug", "text")]


def test_a_literal_of_the_command_line_is_the_default() -> None:
    """It is written out there, because importing the models takes longer than most commands."""
    assert Admin().address == DEFAULT_ADMIN
    assert Audit().path == str(TRAIL)
