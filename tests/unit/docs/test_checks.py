"""The checks of the pages can fail: each of these blocks has a typical mistake."""

from pathlib import Path

import pytest

from tests.unit.docs.checks import check
from tests.unit.docs.pages import anchors, links

MISTAKES = [
    ("toml", '[listen]\nadress = "0.0.0.0:8080"'),
    ("toml", 'coalesce = "subjects"'),
    ("toml", "[defaults]\ntotal_timeout = 2"),
    ("json", '{"type": "urn:backstay:problem:gone", "title": "", "status": 1, "detail": "", "correlation_id": ""}'),
    ("json", '{"correlation_id": "a", "operation": "b", "outcome": "answered"}'),
    ("json", "{'single': 1}"),
    ("yaml", "a: [1"),
    ("yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {port: 80}"),
    ("python", "def f(:"),
    ("ini", "no section = 1"),
    ("js", "const = 1"),
    ("mermaid", "flow\n  a --> b"),
    ("sh", "backstay runs"),
    ("sh", "backstay run --upstreams http://127.0.0.1"),
    ("sh", "backstay demo --port many"),
    ("sh", "cat a | backstay audit query a --colour red && ls"),
    ("sh", "docker run --rm backstay:0.1.0 run --up x"),
    ("sh", "python -m tests.benchmark"),
    ("sh", ".venv/bin/python -m tests.benchmarks --repeat 3"),
    ("sh", "bash scripts/build"),
    ("sh", "pip install -e '.[everything]'"),
    ("sh", "BACKSTAY_LISTEN__ADRESS=0.0.0.0:80 backstay run"),
    ("sh", "curl http://127.0.0.1:9901/circuit"),
]
FINE = [
    ("toml", 'coalesce = "subject"'),
    ("toml", '[[routes]]\noperation = "a"\nmatch = "GET /a"\nupstream = "sessions"'),
    ("sh", "# nothing\nexport BACKSTAY_LISTEN__ADDRESS=0.0.0.0:80\nbackstay run --upstream http://127.0.0.1:1 &\nwait"),
    ("sh", "curl -X POST http://127.0.0.1:9901/circuits/sessions/reset"),
    ("sh", ".venv/bin/python -m tests.compiled build/compiled"),
    ("mermaid", "sequenceDiagram\n  A->>B: hello"),
]


@pytest.mark.parametrize(("language", "text"), MISTAKES)
def test_a_mistake_is_seen(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check(language, text, tmp_path)


@pytest.mark.parametrize(("language", "text"), FINE)
def test_what_is_right_passes(language: str, text: str, tmp_path: Path) -> None:
    check(language, text, tmp_path)


def test_headings_become_anchors_as_they_do_on_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `[listen]`\n\n## A b, c-d_e\n\n## A b, c-d_e\n\n```sh\n# no heading\n```\n", encoding="utf-8")
    assert anchors(page) == {"listen", "a-b-c-d_e", "a-b-c-d_e-1"}


def test_links_and_pictures_are_found_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c)\n\n![d](e.png) `[no](link)`\n\n| [f](g) |\n| --- |\n", encoding="utf-8")
    assert list(links(page)) == [(1, "b.md#c"), (3, "e.png"), (5, "g")]
