"""Print what the FastAPI example's page sees in Chromium without and with the sidecar, as a Markdown table."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.examples.scenario import Scenario
from tests.e2e.examples.stage import stage
from tests.e2e.observe.browser import CHROMIUM


async def seen(folder: Path, *, with_sidecar: bool) -> dict[str, str]:
    """Play the scenario once; return what the page saw of each event."""
    async with stage(folder, with_sidecar=with_sidecar) as played:
        return await Scenario(played).play()


def table(without: dict[str, str], with_it: dict[str, str]) -> str:
    """Return both runs beside each other."""
    rows = [("", "without the sidecar", "with it"), ("---", "---", "---")]
    rows += [(what, without[what], with_it[what]) for what in sorted(without, key=list(with_it).index)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace("|  |", "| |")


def main() -> int:
    """Print the table."""
    if CHROMIUM is None:
        print("chromium is not installed (apt-get install chromium)", file=sys.stderr)
        return 1
    tables = []
    for with_sidecar in (False, True):
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            tables.append(asyncio.run(seen(Path(folder), with_sidecar=with_sidecar)))
    print(table(*tables), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
