"""The command that renews the digests of the base images, with a registry client that reads a table."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = """#!/bin/sh
case "$*" in
  *:3.11-slim-bookworm) echo sha256:{digest} ;;
  *) echo "{other}" ;;
esac
"""
DIGEST, RENEWED = "a" * 64, "b" * 64


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    """Return a copy of the Dockerfile."""
    copy = tmp_path / "Dockerfile"
    copy.write_text((ROOT / "Dockerfile").read_text())
    return copy


def pin(dockerfile: Path, digest: str, other: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a client that gives these answers."""
    client = dockerfile.with_name("skopeo")
    client.write_text(CLIENT.format(digest=digest, other=other))
    client.chmod(0o755)
    path = f"{dockerfile.parent}:{os.environ['PATH']}"
    command = [str(ROOT / "scripts/pin-base-images"), str(dockerfile)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})


def test_the_digests_are_written_and_renewed(dockerfile: Path) -> None:
    """The tag stays readable beside the digest; a second run replaces the digest."""
    for digest in (DIGEST, RENEWED):
        assert pin(dockerfile, digest, f"sha256:{digest}").returncode == 0
        text = dockerfile.read_text()
        assert f"\nARG BASE=python:3.11-slim-bookworm@sha256:{digest}\n" in text
        assert f"\nARG BUILDER=python:3.11-bookworm@sha256:{digest}\n" in text


def test_an_answer_without_a_digest_changes_nothing_for_that_image(dockerfile: Path) -> None:
    """The error names the image."""
    done = pin(dockerfile, DIGEST, "denied")
    assert done.returncode == 1
    assert "python:3.11-bookworm: no digest in the answer: 'denied'" in done.stderr
    assert "\nARG BUILDER=python:3.11-bookworm\n" in dockerfile.read_text()
