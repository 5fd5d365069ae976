"""Check each kind of fenced block with the program that reads it."""

import ast
import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.audit.chain import Chain
from proxy.audit.record_schema import LINE
from proxy.config.load import load
from proxy.config.objections import ConfigError
from proxy.config.settings import Settings
from proxy.http.problems import Reason
from tests.unit.docs.shell import check_shell

DIAGRAMS = frozenset({"classDiagram", "flowchart", "gantt", "graph", "sequenceDiagram", "stateDiagram-v2", "timeline"})
_UPSTREAM = '[upstreams.{}]\nurl = "http://127.0.0.1:8000"\n'
_ROUTE = '[[routes]]\noperation = "some"\nmatch = "GET /some/{report_id}"\nsubject = "path:report_id"\n'
_TYPE = "urn:backstay:problem:"


def check_toml(text: str, folder: Path) -> None:
    """Load a configuration as `backstay check` does; a fragment is completed with an upstream, or put into a route."""
    names = re.findall(r'^upstream = "([\w-]+)"', text, re.MULTILINE) or ["sessions"]
    added = "".join(_UPSTREAM.format(name) for name in dict.fromkeys(names) if f"[upstreams.{name}]" not in text)
    problems = _refused(f"{text}\n{added}", folder)
    if problems is not None and not tomllib.loads(text).keys() & Settings.model_fields.keys():
        problems = _refused(f"{_ROUTE}{text}\n{added}", folder)
    assert problems is None, problems


def _refused(text: str, folder: Path) -> str | None:
    file = folder / "page.toml"
    file.write_text(text, encoding="utf-8")
    try:
        load(file, environ={})
    except ConfigError as error:
        return str(error)
    return None


def check_json(text: str, _: Path) -> None:
    """Parse a document, or one a line; a record and a problem document are held against what the code makes."""
    try:
        documents = [json.loads(text)]
    except json.JSONDecodeError:
        documents = [json.loads(line) for line in text.splitlines() if line]
    for document in documents:
        if isinstance(document, dict):
            _check_document(document)


def _check_document(document: dict[str, Any]) -> None:
    kind = str(document.get("type", ""))
    if kind.startswith(_TYPE):
        assert kind.removeprefix(_TYPE) in set(map(str, Reason)), kind
        assert document.keys() - {"retry_after"} == {"type", "title", "status", "detail", "correlation_id"}
    if {"correlation_id", "operation", "outcome"} <= document.keys():
        chained = {"v", "seq", "prev", "hash"}
        fields = {name: value for name, value in document.items() if name not in chained}
        LINE.validate_json(Chain().append(fields))


def check_yaml(text: str, _: Path) -> None:
    """Parse every document; a Kubernetes object of a known kind is held against the schemas of Kubernetes."""
    for document in YAML(typ="safe", pure=True).load_all(text):
        if isinstance(document, dict) and {"apiVersion", "kind"} <= document.keys():
            _check_object(document)


def _check_object(document: dict[str, Any]) -> None:
    if "." in document["apiVersion"].partition("/")[0].removesuffix(".k8s.io"):
        return  # a resource of an operator, such as a ServiceMonitor
    validate = pytest.importorskip("kubernetes_validate", reason="the extra deploy has the schemas")
    validate.validate(document, validate.latest_version(), strict=True)


def check_python(text: str, _: Path) -> None:
    """Compile it."""
    ast.parse(text)


def check_ini(text: str, _: Path) -> None:
    """Parse it as systemd does: a key may be repeated."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    assert parser.sections()


def check_javascript(text: str, folder: Path) -> None:
    """Let Node.js parse it as a module, where there is one."""
    node = shutil.which("node") or pytest.skip("there is no node")
    file = folder / "page.mjs"
    file.write_text(text, encoding="utf-8")
    told = subprocess.run([node, "--check", file], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def check_mermaid(text: str, _: Path) -> None:
    """Tell that it is a diagram of a kind that is drawn."""
    assert text.split(None, 1)[0] in DIAGRAMS, text.split("\n", 1)[0]
    assert text.count("[") == text.count("]")
    assert text.count('"') % 2 == 0


def check_shell_block(text: str, _: Path) -> None:
    """Hold each command line against the real commands, modules and files."""
    check_shell(text)


CHECKS: Mapping[str, Callable[[str, Path], None]] = {
    "ini": check_ini,
    "javascript": check_javascript,
    "js": check_javascript,
    "json": check_json,
    "mermaid": check_mermaid,
    "python": check_python,
    "sh": check_shell_block,
    "toml": check_toml,
    "yaml": check_yaml,
}
UNCHECKED = frozenset({"gotmpl", "text"})  # templates that other tests render; output, and files of other programs


def check(language: str, text: str, folder: Path) -> None:
    """Check a block; `folder` is for a check's files. Raises AssertionError in the words of what refused it."""
    try:
        CHECKS[language](text, folder)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"not {language}: {error}") from error
