"""The command line around the commands: completion, help, and what is loaded when."""

import subprocess
import sys

import pytest

from tests.reference.command_line import Command, all_commands
from tests.unit.cli.test_check import backstay


def test_the_audit_commands_are_loaded_only_when_one_is_called() -> None:
    """Every start of `run` and every health check would pay for them."""
    code = "import sys; import proxy.cli.commands; sys.exit('proxy.cli.audit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("typed", "offered"), [("audit ", "verify"), ("audit query --rep", "--report-id"), ("config ", "show")]
)
def test_completion_goes_on_below_the_root(
    typed: str, offered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The readers of the trail are loaded when one of them is completed."""
    monkeypatch.setenv("_BACKSTAY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"backstay {typed}")
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ") + 1))
    backstay(monkeypatch)
    assert offered in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("shell", "said"),
    [("bash", "complete -o default -F"), ("zsh", "#compdef backstay"), ("fish", "complete --command backstay"),
     ("powershell", "Register-ArgumentCompleter"), ("pwsh", "Register-ArgumentCompleter")],
)  # fmt: skip
def test_each_shell_has_a_script_by_name(
    shell: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--show-completion` knows only the shell that it runs in."""
    assert backstay(monkeypatch, "completion", shell) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("command", list(all_commands()), ids=lambda command: command.name)
def test_help_says_all_of_its_text(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text in brackets is not markup: the help has the whole docstring, and the whole text of each option."""
    monkeypatch.setenv("COLUMNS", "500")
    assert backstay(monkeypatch, *command.name.split()[1:], "--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    helps = [getattr(each, "help", None) or "" for each in command.parameters]
    for text in (*command.about.split("\n\n"), *helps):
        assert " ".join(text.split()) in shown
