"""`backstay demo` as a user runs it: six failure modes, every promise kept, and `--serve`."""

import re
import signal

import aiohttp

from tests.e2e.demo import BROKEN, broken, line_of, touring


async def test_the_tour_keeps_its_promises_and_serves_until_interrupted() -> None:
    """The table is printed, the page comes through the sidecar with a correlation id, and Ctrl-C ends it.

    Its exit status is that of the promises. Those that are about time depend on the machine.
    """
    async with touring() as demo:
        frontend, printed = await line_of(demo, r"frontend\s+(http://\S+)")
        async with aiohttp.ClientSession() as session, session.get(frontend[1]) as answer:
            assert answer.status == 200
            assert "X-Correlation-ID" in answer.headers
            assert "Backstay demo" in await answer.text()

        demo.send_signal(signal.SIGINT)
        printed += (await demo.communicate())[0].decode()
    assert broken(printed) == set(), printed
    assert demo.returncode == (1 if BROKEN.search(printed) else 0), printed
    assert bool(re.search(r"All \d+ promises kept", printed)) is (demo.returncode == 0)
    assert all(f"{number}/6" in printed for number in range(1, 7))
