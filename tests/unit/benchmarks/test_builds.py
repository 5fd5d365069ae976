"""A measured build is the one that its name says, or the measurement is refused."""

from pathlib import Path

import pytest

from tests.benchmarks.builds import COMPILED, PLAIN, Build, BuildError, check
from tests.e2e.sidecar import ROOT


def standing_in(folder: Path, kind: str, version: str, file: Path) -> Build:
    """Return a build whose programs say these things."""
    (folder / "bin").mkdir()
    for program, says in (("backstay", version), ("python", str(file))):
        path = folder / "bin" / program
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
    return Build(kind, folder)


@pytest.mark.parametrize(("kind", "version"), [(COMPILED, "backstay 0.1.0 (compiled)"), (PLAIN, "backstay 0.1.0")])
def test_a_build_that_is_what_it_says_is_measured(tmp_path: Path, kind: str, version: str) -> None:
    """Its rows are named by it."""
    build = standing_in(tmp_path, kind, version, tmp_path / "lib/proxy/__init__.py")
    check(build)
    assert build.name == f"Backstay, {kind}"


@pytest.mark.parametrize(("kind", "version"), [(PLAIN, "backstay 0.1.0 (compiled)"), (COMPILED, "backstay 0.1.0")])
def test_a_build_that_is_another_fails(tmp_path: Path, kind: str, version: str) -> None:
    """As an editable install would, which is never compiled."""
    build = standing_in(tmp_path, kind, version, tmp_path / "lib/proxy/__init__.py")
    with pytest.raises(BuildError, match=rf"the {kind} build is not {kind}: `backstay --version` says"):
        check(build)


def test_a_build_that_the_checkout_shadows_fails(tmp_path: Path) -> None:
    """A folder before its own on the path would be measured in its place."""
    build = standing_in(tmp_path, PLAIN, "backstay 0.1.0", ROOT / "proxy/__init__.py")
    with pytest.raises(BuildError, match="the plain build is shadowed: `import proxy` finds"):
        check(build)


def test_a_program_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    """What pip or the compiler said is what helps."""
    build = standing_in(tmp_path, PLAIN, "", tmp_path)
    (tmp_path / "bin/backstay").write_text("#!/bin/sh\necho gcc: command not found >&2; exit 3\n")
    with pytest.raises(BuildError, match=r"failed with 3:\ngcc: command not found"):
        check(build)


def test_the_checkout_is_not_on_a_builds_path(tmp_path: Path) -> None:
    """Neither by PYTHONPATH, nor as the folder in which it is started."""
    given = Build(PLAIN, tmp_path).environment(audit__path="-")
    assert str(ROOT) not in given["PYTHONPATH"].split(":")
    assert given["PYTHONSAFEPATH"] == "1"
    assert given["BACKSTAY_AUDIT__PATH"] == "-"
