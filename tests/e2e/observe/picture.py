"""Draw the status page with a minute of users: `python -m tests.e2e.observe.picture docs/images/status.png`."""

import asyncio
import sys
import tempfile
from itertools import count
from pathlib import Path
from random import Random

from proxy.clock import SystemClock
from tests.e2e.observe.browser import Page, browser
from tests.e2e.observe.stage import TOKEN, Stage, stage

SECONDS = 65.0  # the page's curves show a minute
EVERY_S = 0.4  # a user comes


async def draw(file: Path) -> None:
    """Write the page as a PNG, once users have come for a minute."""
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as scene, browser(Path(folder)) as page:
            await page.resize(1265)
            await page.open(scene.child.admin)
            await _come(scene)
            await _search(page)
            await page.screenshot(file)


async def _come(scene: Stage) -> None:
    """Let users create sessions and restore them in several tabs; now and then the backend fails."""
    random, clock = Random(1), SystemClock()
    until = clock.now() + SECONDS
    for n in count():
        if clock.now() >= until:
            return
        if n % 12 == 11:
            scene.backend.faults.fail(random.choice((2, 4)), prefix=f"/api/conversations/val_{n}/history")
        await scene.create(f"val_{n}", tabs=random.randint(1, 4))
        await scene.restore(f"val_{n}", tabs=random.randint(1, 4))
        await clock.sleep(random.uniform(0, 2 * EVERY_S))


async def _search(page: Page) -> None:
    """Show the newest records, as an operator with the token does."""
    await page.ask("document.getElementById('token').focus()")
    await page.type(TOKEN)
    await page.press("Enter")
    await page.until("document.querySelectorAll('#records tbody tr').length > 10")
    await page.ask("[...document.querySelectorAll('#records tbody tr')].slice(8).forEach((row) => row.remove())")


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
