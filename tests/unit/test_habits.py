"""Habits that a machine can check: scripts, what the check calls, one version, locks, and pages that name files."""

import ast
import os
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.reference.classes import MANY, REASONS, chain, classes

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
NUMBER = r"\d+\.\d+\.\d+"
LONGEST_FUNCTION = 50  # lines
LONGEST_MODULE = 440


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def toml() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_a_script_can_be_run_from_anywhere_and_stops_at_a_failure(script: Path) -> None:
    """It is executable, is bash or Python, ends at the first error, and says in its second line what it does."""
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(
    "command", ["scripts/check", "scripts/docs --check", "scripts/test pythons", "scripts/test compiled", "--cov"]
)
def test_the_check_runs_what_a_contributor_runs(command: str) -> None:
    """`.ci/run` has no command of its own for what a script does."""
    assert command in text(".ci/run")


def test_the_check_runs_the_command_that_the_readme_gives() -> None:
    """It reads the command there, so that both are one."""
    command = re.search(r"python3 -m venv \.venv && .*pytest", text("README.md"))
    assert command is not None
    assert "README.md" in text(".ci/run")


def test_every_linter_of_the_check_is_installed_with_the_tests() -> None:
    """Nothing that the check calls is missing on a fresh clone."""
    wanted = set(re.findall(r"^\.venv/bin/([a-z-]+)", text("scripts/check"), re.MULTILINE))
    packages = {re.split(r"[<>=]", each)[0] for each in toml()["project"]["optional-dependencies"]["test"]}
    assert {"ruff", "mypy", "lint-imports", "vulture"} <= wanted
    assert wanted - {"lint-imports"} <= packages
    assert {"import-linter", "pytest-cov"} <= packages


def test_coverage_has_a_floor() -> None:
    """Of branches, over the product alone."""
    coverage = toml()["tool"]["coverage"]
    assert coverage["run"]["branch"] is True
    assert coverage["run"]["source"] == ["proxy"]
    assert coverage["report"]["fail_under"] >= 90


def test_hooks_download_nothing() -> None:
    """They are the project's own scripts."""
    hooks = YAML(typ="safe").load(text(".pre-commit-config.yaml"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert os.access(ROOT / hook["entry"].split()[0], os.X_OK)


def run_message(tmp_path: Path, message: str) -> str:
    file = tmp_path / "message"
    file.write_text(message, encoding="utf-8")
    done = subprocess.run([ROOT / "scripts/check-message", file], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (done.stderr == "")
    return done.stderr


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Close what is open\n\nIt leaked.\n", ""),
        ("# a comment\nClose what is open\n\nIt leaked.\n# another\n", ""),
        ("Merge branch 'x'\n", ""),
        ("Close what is open\n", "there is no body"),
        ("Close what is open\nIt leaked.\n", "the second line must be empty"),
        ("Close what is open.\n\nIt leaked.\n", "full stop"),
        (f"{'x' * 73}\n\nIt leaked.\n", "73 characters"),
        ("\n\nIt leaked.\n", "the first line is empty"),
    ],
)
def test_a_commit_says_what_and_why(tmp_path: Path, message: str, said: str) -> None:
    """The hook says what is wrong with a message."""
    got = run_message(tmp_path, message)
    assert said in got
    assert bool(said) is bool(got)


def test_the_version_stands_once() -> None:
    """In pyproject.toml; the few files that cannot read it there say the same."""
    version = toml()["project"]["version"]
    chart = YAML(typ="safe").load(text("helm/backstay/Chart.yaml"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert f"\nARG VERSION={version}\n" in text("Dockerfile")
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "helm").rglob("*.y*ml"),
        *(ROOT / "helm").rglob("*.md"),
    ]
    for page in pages:
        named = re.findall(rf"(?:backstay:|newTag: )({NUMBER})", page.read_text(encoding="utf-8"))
        assert set(named) <= {version}, page


def test_a_new_version_is_written_everywhere(tmp_path: Path) -> None:
    """`scripts/set-version` and the test above know the same places."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "helm/backstay").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for name in ("scripts/set-version", "pyproject.toml", "Dockerfile", "helm/backstay/Chart.yaml"):
        place = tmp_path / name
        place.write_text(text(name), encoding="utf-8")
        place.chmod(0o755)
    (tmp_path / "README.md").write_text("run registry/backstay:0.0.1 now\n", encoding="utf-8")
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "scripts/set-version", "1.2"], capture_output=True, check=False).returncode == 2
    subprocess.run([tmp_path / "scripts/set-version", "12.3.4"], check=True)
    for name, said in {
        "pyproject.toml": 'version = "12.3.4"', "Dockerfile": "ARG VERSION=12.3.4", "README.md": "backstay:12.3.4",
        "helm/backstay/Chart.yaml": 'version: 12.3.4\nappVersion: "12.3.4"',
    }.items():  # fmt: skip
        assert said in (tmp_path / name).read_text(encoding="utf-8")
    before, after = text("pyproject.toml").splitlines(), (tmp_path / "pyproject.toml").read_text("utf-8").splitlines()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_locks_are_seen() -> None:
    """What the image is made of is not hidden."""
    hidden = [path.name for path in ROOT.glob(".*lock*")]
    assert hidden == []
    for lock in ("requirements.lock", "build.lock"):
        assert f"!{lock}\n" in text(".dockerignore")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "RELEASING.md"])
def test_every_file_that_a_page_for_contributors_names_is_there(page: str) -> None:
    """A file that is renamed takes its row along."""
    named = re.findall(
        r"`((?:proxy|tests|helm|scripts|docs)/[\w./-]+)(?: [^`]*)?`|\]\(([\w./-]+)(?:#[\w-]+)?\)", text(page)
    )
    paths = {one or other for one, other in named} - {"proxy/exchange/NAME.py"}
    assert paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def functions() -> list[tuple[str, int]]:
    return [
        (f"{file.relative_to(ROOT)}::{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for file in sorted((ROOT / "proxy").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_functions_and_modules_are_short() -> None:
    """A longer function hides a second one, and so does a longer module."""
    long = {name for name, lines in functions() if lines > LONGEST_FUNCTION}
    for file in (ROOT / "proxy").rglob("*.py"):
        if len(file.read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE:
            long.add(str(file.relative_to(ROOT)))
    assert long == set()


def test_every_exception_to_a_rule_of_the_linter_names_the_rule() -> None:
    """A bare `noqa` or `type: ignore` would silence what nobody looked at."""
    bare = re.compile(r"#\s*(?:noqa(?!: [A-Z]+\d)|type:\s*ignore(?!\[))")
    for folder in ("proxy", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            if file != Path(__file__):
                assert bare.search(file.read_text(encoding="utf-8")) is None, file


RULE_CODE = re.compile(r"\b(?:A[1-9]|B[1-6]|C1[0-2]|C[1-9]|I[1-7]|P1|S[1-5]|T1[0-2]|T[1-9]|W1[0-7]|W[1-9]|X[12])\b")
NO_CODES = re.compile('"B3"|%[0-9A-F]{2}')  # a header field, and an encoded byte


def test_the_code_names_its_rules_in_words() -> None:
    """A letter and a number send the reader to a table; the rule in words does not. This page has them as examples."""
    pages = [path for room in ("proxy", "tests") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(pages) > 300
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in pages
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if RULE_CODE.search(NO_CODES.sub("", line))
    ]
    assert lines == []


@pytest.mark.parametrize("code", ["(C7)", "T4, T10: what", "W10)."])
def test_a_rule_code_is_found(code: str) -> None:
    assert RULE_CODE.search(code)


@pytest.mark.parametrize("other", ["HTTP/1.1", "UTF-8", "RFC 9112", "S256", "r1", "SHA-256", "W100"])
def test_what_only_looks_like_a_rule_code_is_not_found(other: str) -> None:
    assert not RULE_CODE.search(other)


def _names() -> Iterator[tuple[str, str, bool]]:
    """Yield each class of the product: its name, its file, and whether it is a Protocol."""
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield (
                    node.name,
                    str(path.relative_to(ROOT)),
                    any(ast.unparse(base) == "Protocol" for base in node.bases),
                )


def test_a_class_has_a_name_of_its_own() -> None:
    """Only a Protocol and the class that meets it may share one: a reader looks a name up in one place."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for name, file, is_protocol in _names():
        if not name.startswith("_"):
            found.setdefault(name, []).append((file, is_protocol))
    assert len(found) > 200
    twice = {name: files for name, files in found.items() if sum(not protocol for _, protocol in files) > 1}
    assert twice == {}


def test_a_module_has_a_name_of_its_own() -> None:
    modules = Counter(path.stem for path in (ROOT / "proxy").rglob("*.py") if path.name != "__init__.py")
    assert [name for name, times in modules.items() if times > 1] == []


def test_no_behaviour_is_inherited_over_more_than_one_level() -> None:
    """A chain has a base class and what inherits from it. Tables of settings may have one more: they only hold data."""
    among = {facts.name: facts for facts in classes() if not facts.protocol}
    longer = {name for name, facts in among.items() if chain(facts, among) > 2}
    assert longer <= {"RouteTable", "Passthrough"}
    assert all(chain(facts, among) <= 2 for facts in classes("exchange") if facts.name in among)


def test_a_class_with_many_attributes_has_a_reason_and_no_other_class_has_one() -> None:
    """The reasons stand on the page of classes."""
    assert sorted(facts.name for facts in classes() if facts.attributes > MANY) == sorted(REASONS)
