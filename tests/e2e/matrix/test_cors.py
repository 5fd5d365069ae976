"""A page of another origin, in a real browser, can read the sidecar's own responses."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.matrix.conftest import Start, ask
from tests.e2e.matrix.scripted import RESET, ScriptedBackend, answer
from tests.e2e.observe.browser import CHROMIUM, browser

CONFIG = """
[upstreams.sessions]
url = "{url}"
[upstreams.sessions.breaker]
failure_threshold = 1
[defaults.retry]
max_retries = 0
[[routes]]
operation = "history"
match = "GET /history/{{id}}"
"""
PAGE = """<!doctype html><title>t</title><body><script>
(async () => {{
  const seen = [];
  for (const name of ["a", "b", "c"]) {{
    try {{
      const response = await fetch("{url}/history/" + name, {{ headers: {{ "X-Tenant": "t" }} }});
      seen.push([response.status, (await response.json()).title || "data"]);
    }} catch (error) {{ seen.push([0, String(error)]); }}
  }}
  document.body.textContent = JSON.stringify(seen);
}})();
</script></body>"""
ALLOW = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Tenant\r\n"


async def page_server(html: str) -> tuple[web.AppRunner, str]:
    """Serve one page on an origin of its own."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_browser_reads_the_problem_of_a_fast_fail(
    start: Start, backend: ScriptedBackend, tmp_path: Path
) -> None:
    """What the backend once allowed, its preflight too, is what lets the page read that it is down."""
    data, preflight = answer(200, ALLOW), answer(204, ALLOW).replace(b"\r\n\r\n{}", b"\r\n\r\n")
    backend.script = (preflight, data, *(RESET,) * 9)
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url))
    runner, url = await page_server(PAGE.format(url=sidecar.sidecar.url))
    async with browser(tmp_path) as page:
        await page.open(url)
        await page.until("document.body.textContent.startsWith('[[')")
        text = await page.ask("document.body.textContent")
    await runner.cleanup()
    assert json.loads(text) == [
        [200, "data"],
        [503, "The circuit of this request is open"],
        [503, "The circuit of this request is open"],
    ]


async def test_what_was_learnt_goes_to_the_same_origin_only(start: Start, backend: ScriptedBackend) -> None:
    """Another Origin is not told what this one may read."""
    backend.script = (answer(200, "Access-Control-Allow-Origin: http://a.example\r\n"), *(RESET,) * 9)
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url))
    a, b = "Origin: http://a.example\r\n", "Origin: http://b.example\r\n"
    assert (await ask(sidecar.port, "GET", "/x", a)).status == 200
    assert (await ask(sidecar.port, "GET", "/x", a)).status == 502
    fast = await ask(sidecar.port, "GET", "/x", a)
    assert (fast.status, fast.fields["access-control-allow-origin"]) == (503, "http://a.example")
    assert "access-control-allow-origin" not in (await ask(sidecar.port, "GET", "/x", b)).fields


async def test_a_preflight_in_an_outage_holds_nothing_of_another(start: Start, backend: ScriptedBackend) -> None:
    """The backend answers OPTIONS with a cookie and a body; in the outage only its CORS fields are repeated."""
    allow = "Access-Control-Allow-Origin: http://a.example\r\nSet-Cookie: sid=SECRET\r\nETag: x\r\n"
    backend.script = (answer(200, allow, b"secret of ada"), *(RESET,) * 9)
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url))
    asked = "Origin: http://a.example\r\nAccess-Control-Request-Method: GET\r\n"
    assert (await ask(sidecar.port, "OPTIONS", "/history/1", asked)).body == b"secret of ada"
    other = await ask(sidecar.port, "OPTIONS", "/history/2", asked)
    assert (other.status, other.body, other.fields["access-control-allow-origin"]) == (204, b"", "http://a.example")
    assert {"set-cookie", "etag"}.isdisjoint(other.fields)
    assert (await ask(sidecar.port, "OPTIONS", "/history/1", asked + "Cookie: sid=bob\r\n")).status >= 500
