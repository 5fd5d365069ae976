"""Modules that `backstay run` must not load, because each costs every pod memory and startup time."""

import subprocess
import sys

LOADED = """
import sys
from proxy.cli.import_blocker import without
with without("rich"):
    import proxy.cli.run
print(*(name in sys.modules for name in ("rich", "pygments", "duckdb", "opentelemetry", "redis", "aiocache")))
import rich
print(rich.__name__)
"""
KEPT = """
import json
from proxy.cli.import_blocker import without
with without("json"):
    import json
print(json.dumps(1))
"""


def test_a_sidecar_loads_nothing_to_colour_with_and_no_extra_that_is_not_asked_for() -> None:
    """And afterwards a command that does colour finds what it needs."""
    told = subprocess.check_output((sys.executable, "-c", LOADED), text=True)
    assert told.split() == ["False"] * 6 + ["rich"]


def test_what_was_loaded_before_stays() -> None:
    """Nothing is taken from who has it already."""
    told = subprocess.check_output((sys.executable, "-c", KEPT), text=True)
    assert told == "1\n"
