"""From an OpenAPI document to a running sidecar, and from its trail to the routes that are missing."""

import json
from pathlib import Path

import pytest

from tests.e2e.raw import Client, Origin, answer, request
from tests.e2e.sidecar import ROOT, backstay, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = ROOT / "tests" / "unit" / "init" / "documents" / "sessions.yaml"
TOKEN = "let-me-in"
SEED = {"RETRY_MAX_ATTEMPTS": "5", "REQUEST_DEDUP_CACHE_SIZE": "100"}


async def test_the_first_hour(origin: Origin, tmp_path: Path) -> None:
    """`init`, `check`, `run`, `config show`, and `init --from-trail`, each as a process of its own."""
    origin.on("/api/sessions/val_1", answer(b"{}"))
    origin.on("/api/notes/7", answer(b"{}"))
    arguments = ("--openapi", str(DOCUMENT), "--profile", "high-traffic", "--upstream", origin.url)
    made = await backstay("init", *arguments, cwd=tmp_path)
    assert (made.status, made.err) == (0, "")
    checked = await backstay("check", "backstay.toml", cwd=tmp_path)
    assert (checked.status, checked.err) == (0, "")

    async with sidecar(tmp_path, origin.url, tmp_path / "backstay.toml", admin__token=TOKEN, **SEED) as child:
        async with await Client.connect(child.url) as client:
            for path in ("/api/sessions/val_1", "/api/notes/7"):
                assert (await client.ask(request("GET", path))).status == 200
        await child.logged('"event": "seed_variable"', 2)
        assert (await child.ask_admin("/config")).status == 401
        admin = child.admin.removeprefix("http://")
        shown = await backstay("config", "show", "--json", "--admin", admin, cwd=tmp_path, admin__token=TOKEN)
    assert shown.status == 0, shown.err
    assert TOKEN not in shown.out + child.log
    settings = {each["key"]: each for each in json.loads(shown.out)["settings"]}
    told = {key: (settings[key]["value"], settings[key]["origin"]) for key in WANTED}
    assert told == WANTED
    assert [record["operation"] for record in child.records()] == ["load-session", "passthrough"]

    proposed = await backstay("init", "-", "--from-trail", "audit.jsonl", cwd=tmp_path)
    assert 'match = "GET /api/notes/{note_id}"' in proposed.out
    assert "sessions/" not in proposed.out.partition("[[routes]]")[2]


WANTED = {
    "admin.token": ("***", "environment"),
    "listen.address": ("127.0.0.1:0", "environment"),
    "upstreams.backend.breaker.failure_threshold": (10, "file"),
    "defaults.retry.max_retries": (5, "seed variable"),
    "defaults.retry.initial_delay": ("200ms", "file"),
    "routes[2].retry.max_retries": (5, "seed variable"),
    "routes[2].subject": ("path:reportId", "file"),
    "store.url": ("memory://", "default"),
}


async def test_the_seed_documents_variables_can_be_ignored(origin: Origin, tmp_path: Path) -> None:
    """Nothing is set and nothing is logged of them, also if one is wrong."""
    ignored = SEED | {"RETRY_MAX_DELAY": "soon"}
    async with sidecar(tmp_path, origin.url, admin__token=TOKEN, seed_env="0", **ignored) as child:
        admin = child.admin.removeprefix("http://")
        shown = await backstay("config", "show", "--changed", "--admin", admin, "--token", TOKEN, cwd=tmp_path)
    assert shown.status == 0, shown.err
    assert "retry" not in shown.out
    assert "seed_variable" not in child.log
