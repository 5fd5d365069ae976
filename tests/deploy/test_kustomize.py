"""The Kustomize component, rendered by the real kustomize."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import load
from tests.deploy.tools import Document, documents, kubernetes_tool
from tests.unit.inject.manifests import ANCHORED, DEPLOYMENT, SERVICE

COMPONENT = Path(__file__).parents[2] / "helm" / "kustomize"
OVERLAY = "{resources: [shop.yaml], components: [component], images: [{name: backstay, newTag: '9'}]}"


@pytest.fixture
def rendered(tmp_path: Path) -> list[Document]:
    """Give the component laid over a shop: one annotated Deployment with its Service, and another without."""
    wanted = SERVICE.replace("name: backend\nspec", "name: backend\n  annotations: {backstay.dev/inject: 'true'}\nspec")
    (tmp_path / "shop.yaml").write_text(f"{DEPLOYMENT}---\n{wanted}---\n{ANCHORED}")
    shutil.copytree(COMPONENT, tmp_path / "component")
    (tmp_path / "kustomization.yaml").write_text(OVERLAY)
    command = [str(kubernetes_tool("kubectl", 4)), "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "KUBECONFIG": ""})
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def test_only_what_is_annotated_gets_the_sidecar(rendered: list[Document]) -> None:
    """With the overlay's image, its configuration by the name that kustomize gave it, and the Service redirected."""
    named = {(one["kind"], one["metadata"]["name"]): one for one in rendered}
    spec = named["Deployment", "backend"]["spec"]["template"]["spec"]
    (sidecar,) = spec["initContainers"]
    assert sidecar["image"] == "backstay:9"
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in [one["mountPath"] for one in sidecar["volumeMounts"]]
    assert ("ConfigMap", spec["volumes"][0]["configMap"]["name"]) in named
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 24}}}
    assert named["Service", "backend"]["spec"]["ports"][0]["targetPort"] == 8080
    assert "initContainers" not in named["Deployment", "anchored"]["spec"]["template"]["spec"]


def test_the_result_is_valid(rendered: list[Document], tmp_path: Path) -> None:
    """For Kubernetes, and its configuration for the sidecar."""
    validator: Any = pytest.importorskip("kubernetes_validate")
    for one in rendered:
        validator.validate(one, "1.33", strict=True)
        if one["kind"] == "ConfigMap":
            (tmp_path / "backstay.toml").write_text(one["data"]["backstay.toml"])
    assert load(tmp_path / "backstay.toml", environ={}).listen.drain_timeout == 18.0
