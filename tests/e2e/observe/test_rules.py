"""Alerting rules and dashboards use existing names: checked by promtool and against a live sidecar's metrics."""

import asyncio
import re
import shutil
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.observe.stage import stage
from tests.e2e.sidecar import ROOT

PROMTOOL = shutil.which("promtool")
FILES = ROOT / "helm/backstay/files"
RULES = FILES / "rules/backstay.yaml"
DASHBOARD = FILES / "dashboards/backstay.json"
METRIC = re.compile(r"(?<![:\w])backstay_\w+(?![\w:])")  # a name with a colon is a rule's own
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


async def promtool(*arguments: str) -> str:
    """Run promtool; return what it said if it was content."""
    assert PROMTOOL is not None
    process = await asyncio.create_subprocess_exec(
        PROMTOOL, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


@needs_promtool
async def test_the_rules_are_valid() -> None:
    """Prometheus loads them."""
    assert "SUCCESS" in await promtool("check", "rules", str(RULES))


@needs_promtool
async def test_the_rules_fire_when_they_should() -> None:
    """Their unit tests hold: what calls somebody, what does not, and the figures in between."""
    assert "SUCCESS" in await promtool("test", "rules", str(Path(__file__).with_name("rules.test.yaml")))


def expressions() -> dict[str, list[str]]:
    """Return every expression of a rule or a panel, by the file that has it."""
    dashboard = orjson.loads(DASHBOARD.read_bytes())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    comments = re.compile(r"^\s*#.*$|^\s*(summary|runbook):.*$", re.MULTILINE)
    rules = re.split(r"^ +expr:", comments.sub("", RULES.read_text()), flags=re.MULTILINE)[1:]
    cut = re.compile(r"^ +(for|labels|annotations):|^ +- (record|alert|name):", re.MULTILINE)
    return {DASHBOARD.name: panels, RULES.name: [cut.split(rule)[0] for rule in rules]}


async def test_every_metric_that_they_name_is_there(tmp_path: Path) -> None:
    """A renamed metric would leave a panel empty and an alert silent, and nobody would know."""
    async with stage(tmp_path) as scene:
        text = (await scene.child.ask_admin("/metrics")).out
    known: set[str] = set()
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        known |= {family.name + suffix for suffix in suffixes}
    for file, found in expressions().items():
        named = {name for expression in found for name in METRIC.findall(expression)}
        assert len(named) > 5, file
        assert named <= known, (file, named - known)


def test_every_alert_says_what_to_do() -> None:
    """Whoever is called at night reads a summary and a runbook, not an expression."""
    alerts = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]
    assert len(alerts) > 5
    for alert in alerts:
        assert "severity:" in alert
        assert re.search(r"summary: \S", alert)
        assert re.search(r"runbook: \S", alert)
