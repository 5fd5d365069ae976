"""Injected manifests: valid, unchanged by a second run, and restored with every comment."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.inject.container import Options
from proxy.inject.manifests import InjectError, ManifestStream
from proxy.inject.transform import inject, uninject
from tests.unit.inject.manifests import (
    DEPLOYMENT,
    HOOKED,
    KUBECTL,
    MANIFESTS,
    POD,
    SERVICE,
    SHORT,
    STATEFUL,
    STATEFUL_SERVICE,
)

WAYS = {
    "native": Options(),
    "ordinary": Options(native=False, config_map="config", token_secret="admin", kubelet_sleeps=False),
}


def objects(text: str) -> list[Any]:
    """Return the objects of a stream, those of Lists too."""
    found = [document for document in YAML(typ="safe", pure=True).load_all(text) if document]
    return [item for document in found for item in document.get("items", [document])]


def pod_of(text: str) -> Any:
    """Return the first workload's pod template."""
    first = next(one for one in objects(text) if one["kind"] in ("Deployment", "StatefulSet", "Pod"))
    return first if first["kind"] == "Pod" else first["spec"]["template"]


def comments(text: str) -> list[str]:
    """Return the comments, in order."""
    return [line[line.index("# ") :] for line in text.splitlines() if "# " in line]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_sidecar_is_added_once_and_can_be_taken_back(name: str, way: str) -> None:
    """Injecting twice changes nothing; uninjecting gives the same bytes; no comment is lost on the way."""
    before = MANIFESTS[name]
    once = inject(before, WAYS[way]).text
    assert once != before
    assert inject(once, WAYS[way]).text == once
    assert comments(once) == comments(before)
    assert uninject(once).rstrip("\n") == before.rstrip("\n")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_result_is_valid(name: str, way: str) -> None:
    """Every object fits the schemas of Kubernetes."""
    validator: Any = pytest.importorskip("kubernetes_validate")
    for one in objects(inject(MANIFESTS[name], WAYS[way]).text):
        one.get("spec", {}).get("template", {}).get("metadata", {}).pop("creationTimestamp", None)  # kubectl's null
        validator.validate(one, "1.33", strict=True)


def test_a_native_sidecar_stands_before_the_backend() -> None:
    """An init container that stays, with the backend's port as its upstream and the Service's target."""
    made = inject(MANIFESTS["Deployment and Service"], Options())
    spec = pod_of(made.text)["spec"]
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"] == ["run", "--upstream", "http://127.0.0.1:8000"]
    assert objects(made.text)[1]["spec"]["ports"][0]["targetPort"] == 8080
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 24}}}
    assert made.notes == ()


@pytest.mark.parametrize("way", WAYS)
def test_a_draining_sidecar_gets_no_requests_and_is_not_restarted(way: str) -> None:
    """Readiness and start ask /readyz, which a drain makes 503; liveness asks /healthz, which a drain leaves 200."""
    spec = pod_of(inject(DEPLOYMENT, WAYS[way]).text)["spec"]
    (sidecar,) = [one for one in (*spec.get("initContainers", ()), *spec["containers"]) if one["name"] == "backstay"]
    asked = {name: sidecar[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    admin = next(port["containerPort"] for port in sidecar["ports"] if port["name"] == "backstay-admin")
    assert {name: ask["path"] for name, ask in asked.items()} == {
        "startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz",
    }  # fmt: skip
    assert {ask["port"] for ask in asked.values()} == {admin}


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_gets_no_service_account_token(way: str) -> None:
    """Kubernetes mounts none where something is mounted already; the backend keeps its own."""
    spec = pod_of(inject(DEPLOYMENT, WAYS[way]).text)["spec"]
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    covered = [
        one["name"] for one in containers if place in [mount["mountPath"] for mount in one.get("volumeMounts", ())]
    ]
    assert covered == ["backstay"]
    assert "automountServiceAccountToken" not in spec


def test_an_ordinary_sidecar_reads_its_map_and_its_secret() -> None:
    """Beside the backend, which stays what kubectl shows first."""
    template = pod_of(inject(DEPLOYMENT, WAYS["ordinary"]).text)
    sidecar = next(one for one in template["spec"]["containers"] if one["name"] == "backstay")
    assert "restartPolicy" not in sidecar
    assert sidecar["args"] == ["run", "--config", "/etc/backstay/backstay.toml"]
    assert sidecar["env"][-1]["valueFrom"]["secretKeyRef"] == {"name": "admin", "key": "token"}
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "app"


def test_of_several_containers_the_services_target_is_the_backend() -> None:
    """Ports by number and by name are redirected, another container's is not; times are parts of the pod's own."""
    made = inject(f"{STATEFUL}---\n{STATEFUL_SERVICE}", Options(upstream_port=9000))
    ports = objects(made.text)[1]["spec"]["ports"]
    assert [port.get("targetPort", port["port"]) for port in ports] == [8080, 8080, 2020]
    containers = {one["name"]: one for one in pod_of(made.text)["spec"]["containers"]}
    assert containers["sessions"]["lifecycle"]["preStop"] == {"sleep": {"seconds": 99}}
    assert "lifecycle" not in containers["logs"]
    assert pod_of(made.text)["metadata"]["annotations"]["prometheus.io/scrape"] == "false"


def test_the_user_hears_what_else_there_is_to_do() -> None:
    """A Service that is not in the input, a hook that is not ours, a termination too short."""
    assert inject(POD, Options()).notes == ("no Service in the input sends to pod/one: set its targetPort to 8080",)
    assert "the preStop hook of container app must last 24 s" in inject(HOOKED, Options()).notes[0]
    hurried = inject(SHORT, Options())
    assert "3 s to terminate are too short to drain; raised to 30 s" in hurried.notes[0]
    assert pod_of(hurried.text)["spec"]["terminationGracePeriodSeconds"] == 30


def test_only_what_is_named_is_changed() -> None:
    """Annotations do not matter then; the rest leaves byte for byte."""
    both = f"{POD.removeprefix('---' + chr(10))}---\n{HOOKED}"
    made = inject(both, Options(names=("hooked",))).text
    assert made.startswith(POD.removeprefix("---\n"))
    assert [bool(one["spec"].get("initContainers")) for one in objects(made)[:1]] == [False]
    assert uninject(made, ["one"]) == made


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("a: [1\nb: 2", Options(), "not YAML: line 2:"),
        (f"{SERVICE}---\n\tx: 1", Options(), "not YAML: line 15:"),
        ("hello", Options(), "line 1: not a Kubernetes object"),
        ("", Options(), "there is no Deployment, StatefulSet, DaemonSet or Pod in the input"),
        (SERVICE, Options(), "there is no Deployment, StatefulSet, DaemonSet or Pod in the input"),
        (f"{POD}---\n{HOOKED}", Options(), "which of one, hooked? Add --name"),
        (DEPLOYMENT, Options(names=("front",)), "no workload in the input is named front: there is backend"),
        (DEPLOYMENT, Options(services=("backend",)), "no Service in the input is named backend: add its manifest"),
        (f"{POD}---\n{SERVICE}", Options(services=("backend",)), "service/backend does not select pod/one"),
        (KUBECTL.replace("5000", "8080"), Options(), "deployment/backend: port 8080 is taken by container app"),
        (KUBECTL.replace("5000", "9901"), Options(), "choose another with --admin-port"),
        (DEPLOYMENT, Options(port=9901), "port 9901 is taken"),
        (HOOKED.replace("http", "h2"), Options(), "does the backend listen on (8000, 8001)? Add --upstream-port"),
        (POD.replace("name: one\n      p", "name: backstay\n      p"), Options(), "that inject did not add"),
        (DEPLOYMENT.replace("serviceAccountName: shop", "shareProcessNamespace: true"), Options(), "signals process 1"),
        ("kind: Deployment\nmetadata: {name: x}\n", Options(), "deployment/x has no containers"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(text: str, options: Options, line: str) -> None:
    """The line says what is wrong and what to write instead."""
    with pytest.raises(InjectError) as refused:
        inject(text, options)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_document_nested_too_deeply_is_refused_in_words() -> None:
    with pytest.raises(InjectError, match="line 1: this document is nested too deeply"):
        ManifestStream("".join(" " * level + "a:\n" for level in range(1_000)))


def test_brackets_nested_too_deeply_are_refused_and_those_in_a_string_are_not() -> None:
    """A few hundred took seconds; a program within a manifest may have any number."""
    with pytest.raises(InjectError, match="line 1: this document is nested too deeply"):
        ManifestStream("a: " + "[" * 100 + "]" * 100)
    with pytest.raises(InjectError, match="line 1: this document is nested too deeply"):
        ManifestStream('{"a":' + "\t[" * 5_000 + "]" * 5_000 + "}")
    assert ManifestStream("a: |\n  " + "[" * 100 + "\n").documents[0].data == {"a": "[" * 100 + "\n"}
