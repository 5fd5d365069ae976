"""Names that pages mention are those of the code: settings, metrics, problem types, commands and their options."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it.token import Token

from proxy.audit.chain import Chain
from proxy.audit.line_queue import LineQueue
from proxy.audit.log import AuditLog
from proxy.audit.trail_file import Output
from proxy.config.shape import place
from proxy.http.problems import Reason
from proxy.observe.metrics import Metrics
from tests.reference.command_line import all_commands
from tests.reference.metrics import is_documented, name_of
from tests.settings import log_rules
from tests.unit.docs.pages import DOCS, PAGES, ROOT, blocks, named, tokens

METRIC = re.compile(r"backstay_[a-z0-9_]+")
ERROR = re.compile(r"(?:urn:backstay:problem:|Proxy-Status: backstay; error=)([a-z_]+)")
SETTING = re.compile(r"(?:listen|admin|audit|store|log|defaults)(?:\.[a-z_]+)+")
FILES = (
    "json",
    "jsonl",
    "toml",
    "md",
    "log",
    "key",
    "example",
    "salt",
    "checkpoints",
    "to",
    "torn",
)  # `audit.jsonl` is no setting
STATE = re.compile(r"\b[A-Z]{4,}\b")
CALLS = re.compile(r": ([a-z_, ]+) \(", re.MULTILINE)  # of a transition, before what is said about it
SUFFIXES = ("", "_bucket", "_sum", "_count", "_created")
OTHERS = frozenset({"backstay_token"})  # a secret's name
HELM = ROOT / "helm" / "backstay" / "files"


@pytest.fixture(scope="module")
def metric_names() -> set[str]:
    """Return every name that a query may use: of a metric, of its series, and of a recording rule."""
    shown = {name_of(family) + suffix for family in Metrics().collect() for suffix in SUFFIXES}
    rules = (HELM / "rules" / "backstay.yaml").read_text(encoding="utf-8")
    return shown | set(METRIC.findall(rules)) | OTHERS


def codes(page: Path) -> Iterator[str]:
    """Yield every text of a page that is inline code."""
    children: Iterator[Token] = (child for token in tokens(page) for child in token.children or ())
    return (child.content for child in children if child.type == "code_inline")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_metric_is_one(page: Path, metric_names: set[str]) -> None:
    assert set(METRIC.findall(page.read_text(encoding="utf-8"))) - metric_names == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_error_is_one(page: Path) -> None:
    assert set(ERROR.findall(page.read_text(encoding="utf-8"))) - set(map(str, Reason)) == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_is_one(page: Path) -> None:
    """A path in code, such as `audit.keep_files`, leads to a setting."""
    found = [text for text in codes(page) if SETTING.fullmatch(text) and text.rpartition(".")[2] not in FILES]
    assert [text for text in found if place(tuple(text.split("."))) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_is_one(page: Path) -> None:
    """So is every option of a command that is mentioned in a sentence."""
    known = {command.name: {name for each in command.parameters for name in _names(each)} for command in all_commands()}
    for text in (one for whole in codes(page) for one in _alternatives(whole)):
        if text.startswith("backstay ") and "/" not in text.split(" ")[1]:
            name = max((name for name in known if f"{text} ".startswith(f"{name} ")), key=len, default="")
            assert name or text in ("backstay audit", "backstay --version", "backstay --help"), text
            options = {word.partition("=")[0] for word in text.split() if word.startswith("-") and len(word) > 1}
            assert options <= known.get(name, options), text


def _alternatives(text: str) -> list[str]:
    """Return `["a b", "a c"]` for "a b|c"."""
    before, _, last = text.rpartition(" ")
    return [f"{before} {one}" for one in last.split("|")] if before else [text]


def _names(parameter: Any) -> Iterator[str]:
    yield from (*parameter.opts, *parameter.secondary_opts, "--help")


@pytest.mark.parametrize(
    ("series", "label", "value"),
    [
        ("backstay_store_errors_total", "operation", "claim"),
        ("backstay_store_errors_total", "operation", "news"),
        ("backstay_restorations_total", "outcome", "restored_empty"),
        ("backstay_upstream_attempts_total", "result", "204"),
        ("backstay_request_duration_seconds_bucket", "route", "any"),
    ],
)
def test_the_page_of_metrics_has_each_value_of_a_label(series: str, label: str, value: str) -> None:
    """Each scrape of an end-to-end test is held against the page; before, it lacked the first three."""
    assert is_documented(series, {label: value})
    assert label == "route" or not is_documented(series, {label: "another"})


def test_the_diagram_of_the_audit_queue_has_the_names_of_the_code() -> None:
    """Its states are those of a line, with the fsync after them; a transition names the calls that make it."""
    (diagram,) = [block.text for block in blocks(DOCS / "audit.md") if block.language == "mermaid"]
    source = Path(ROOT, "proxy", "audit", "line_queue.py").read_text(encoding="utf-8")
    arrows = source.partition("States of a line:")[2].partition("\n")[0]
    assert set(STATE.findall(diagram)) == {*STATE.findall(arrows), "WRITTEN", "LOST", "DURABLE"}
    assert ("written" in arrows, "lost" in arrows) == (True, True)
    calls = {name for names in CALLS.findall(diagram) for name in names.split(", ")}
    assert {"append", "hand_over", "settle", "give_up"} <= calls
    known = {name for kind in (AuditLog, LineQueue, Output, Chain) for name in dir(kind)}
    assert calls - known == set()


def test_the_diagram_of_the_audit_queue_has_the_times_of_the_code() -> None:
    """The times are the defaults of the log."""
    page, rules = (DOCS / "audit.md").read_text(encoding="utf-8"), log_rules()
    at_most = f"(within {rules.fsync_s:g} s)", f"after {rules.close_s:g} s where"
    assert [time for time in (f"(after {rules.batch_s * 1000:g} ms)", *at_most) if time not in page] == []
