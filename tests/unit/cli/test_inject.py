"""`backstay inject`: manifests in and out, and no output if something is wrong."""

import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli.commands import app
from proxy.cli.inject import inject, uninject
from tests.unit.inject.manifests import DEPLOYMENT, POD

Captured = pytest.CaptureFixture[str]


def test_standard_input_goes_through_and_back(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """`backstay inject - | backstay uninject -` is the same manifest."""
    monkeypatch.setattr("sys.stdin", io.StringIO(DEPLOYMENT))
    assert inject("-", None, None, "registry/backstay:2") == 0
    made = capsys.readouterr()
    assert "image: registry/backstay:2" in made.out
    assert made.err == "backstay: no Service in the input sends to deployment/backend: set its targetPort to 8080\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(made.out))
    assert uninject("-", None) == 0
    assert capsys.readouterr().out == DEPLOYMENT


@pytest.mark.parametrize(
    ("content", "line"), [(b"a: [", "not YAML"), (b"\xff", "is not UTF-8"), (None, "no such file")]
)
def test_a_mistake_is_one_line_and_prints_nothing(
    content: bytes | None, line: str, tmp_path: Path, capsys: Captured
) -> None:
    """Exit 2, so that a pipe to kubectl applies nothing."""
    file = tmp_path / "pod.yaml"
    if content is not None:
        file.write_bytes(content)
    assert inject(str(file), None, None, None) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("backstay: ")
    assert line in printed.err
    assert printed.err.count("\n") == 1


def test_options_reach_the_pod(tmp_path: Path) -> None:
    """Through the command line itself."""
    (tmp_path / "pod.yaml").write_text(POD)
    done = CliRunner().invoke(
        app, ["inject", str(tmp_path / "pod.yaml"), "--port", "8081", "--no-native", "--name", "one"]
    )
    assert "0.0.0.0:8081" in done.stdout
    assert "restartPolicy" not in done.stdout
