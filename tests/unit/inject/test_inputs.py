"""What users have in their manifests: injected and restored to the byte, told in a hint, or refused in one sentence."""

import json
from typing import Any

import pytest

from proxy.inject.container import Options
from proxy.inject.manifests import InjectError
from proxy.inject.transform import inject, uninject
from tests.unit.inject.manifests import DAEMON_SET, DEPLOYMENT, SERVICE, STATEFUL, STATEFUL_SERVICE

SCRAPED = DEPLOYMENT.replace(
    "      labels: {app: backend}\n",
    '      labels: {app: backend}\n      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8000"}\n',
)
OBJECT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "backend", "annotations": {"owner": "Zoë 😀"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "backend"}},
        "template": {
            "metadata": {"labels": {"app": "backend"}},
            "spec": {
                "hostNetwork": False,
                "containers": [{"name": "app", "image": "shop:1", "ports": [{"containerPort": 8000}]}],
            },
        },
    },
}
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: nightly}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: app, image: "shop:1"}]}
"""
MERGED = """\
kind: Deployment
metadata: {name: backend}
spec:
  template:
    metadata: {labels: {app: backend}}
    spec:
      containers:
        - &app {name: app, ports: [{containerPort: 8000}]}
        - <<: *app
          name: second
          ports: []
"""


def notes(text: str, **options: Any) -> str:
    """Return the hints, one a line; the manifests are restored to the byte."""
    made = inject(text, Options(**options))
    assert uninject(made.text) == text
    return "\n".join(made.notes)


@pytest.mark.parametrize("text", [f"{DEPLOYMENT}---\n{SERVICE}", DAEMON_SET], ids=["deployment", "daemon set"])
@pytest.mark.parametrize("change", [("\n", "\r\n"), ("", "\ufeff")], ids=["crlf", "bom"])
def test_the_bytes_around_the_text_are_kept(text: str, change: tuple[str, str]) -> None:
    """Windows writes both; before, a second document was no YAML, and the mark was lost."""
    old, new = change
    before = text.replace(old, new) if old else new + text
    made = inject(before, Options()).text
    assert made == (inject(text, Options()).text.replace(old, new) if old else new + inject(text, Options()).text)
    assert uninject(made) == before


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    ("indent", "separators"), [(2, None), (4, None), ("\t", None), (None, None), (None, (",", ":"))], ids=str
)
def test_json_stays_json(indent: Any, separators: Any, ascii_only: bool) -> None:
    """In its own layout, and with every character; before, the result was no JSON."""
    before = json.dumps(OBJECT, indent=indent, separators=separators, ensure_ascii=ascii_only) + "\n"
    made = inject(before, Options())
    pod = json.loads(made.text)["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["name"] == "backstay"
    assert inject(made.text, Options()).text == made.text
    assert uninject(made.text) == before


def test_json_of_no_programs_layout_keeps_its_data() -> None:
    before = json.dumps(OBJECT, indent=2).replace('"replicas": 2', '"replicas":   2')
    assert json.loads(uninject(inject(before, Options()).text)) == OBJECT


def test_a_list_of_kubectl_in_json_is_injected() -> None:
    before = json.dumps({"apiVersion": "v1", "kind": "List", "items": [OBJECT]}, indent=4)
    assert "backstay" in inject(before, Options()).text
    notes(before)


def test_a_daemon_set_is_injected() -> None:
    assert "no Service in the input sends to daemonset/backend" in notes(DAEMON_SET)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f"{STATEFUL}---\n{STATEFUL_SERVICE}", "service/sessions is headless: clients that connect to the pods must "
         "use port 8080 themselves"),
        (SCRAPED, "deployment/backend: its prometheus.io annotations are kept and scrape the backend: scrape port 9901 "
         "as well"),
        (DEPLOYMENT.replace("containerPort: 8000", "containerPort: 8000\n              hostPort: 80"), "hostPort 80 of "
         "container app bypasses the sidecar: remove it"),
        (DEPLOYMENT.replace("serviceAccountName: shop", "hostNetwork: true"), "the sidecar takes the ports 8080 and "
         "9901 of each node"),
    ],
    ids=["headless", "scraped", "hostPort", "hostNetwork"],
)  # fmt: skip
def test_what_does_not_pass_through_the_sidecar_is_told(text: str, hint: str) -> None:
    options = {"upstream_port": 9000} if "StatefulSet" in text else {}
    assert hint in notes(text, **options)


def test_a_plain_workload_gets_none_of_these_hints() -> None:
    assert notes(f"{DEPLOYMENT}---\n{SERVICE}") == ""


def test_annotations_that_inject_adds_are_not_the_users() -> None:
    assert "prometheus.io" not in notes(DEPLOYMENT)


ENDS = "job/nightly runs to its end and serves no requests: inject is for a Deployment, StatefulSet, DaemonSet or Pod"
WANTED = 'metadata: {name: nightly, annotations: {backstay.dev/inject: "true"}}'
REFUSED = {
    "a volume of the name": (DEPLOYMENT.replace("name: tmp", "name: backstay-audit"), (), "deployment/backend has a "
                             "volume named backstay-audit that inject did not add: rename it"),
    "a merge key": (MERGED, (), "deployment/backend: a YAML merge key (<<) stands where inject adds fields: write them "
                    "out there"),
    "a merge key of a Service": (f"{DEPLOYMENT}---\n{SERVICE}".replace(
        "  selector:\n    app: backend\n", "  <<: {selector: {app: backend}}\n"), (), "service/backend: a YAML merge"),
    "a template's value": (DEPLOYMENT.replace('"shop:1.0"', "{{ .Values.image }}"), (), "line 22: this is a template: "
                           "render it first, as in `helm template . | backstay inject -`"),
    "a template's block": (f"{{{{- if .on }}}}\n{DEPLOYMENT}{{{{- end }}}}\n", (), "line 1: this is a template"),
    "a Job alone": (JOB, (), ENDS),
    "a CronJob alone": (JOB.replace("Job", "CronJob"), (), f"cron{ENDS}"),
    "a Job that is named": (f"{DEPLOYMENT}---\n{JOB}", ("nightly",), ENDS),
    "a Job that is annotated": (f"{DEPLOYMENT}---\n{JOB}".replace("metadata: {name: nightly}", WANTED), (), ENDS),
    "a Job that is malformed": (JOB.replace("{name: nightly}", "[]"), (), "job/: metadata is a list, and must be"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_injected_is_one_sentence(kind: str) -> None:
    """Before, each of these passed, or was refused for another reason than its own."""
    text, names, sentence = REFUSED[kind]
    with pytest.raises(InjectError) as refused:
        inject(text, Options(names=names))
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_a_job_beside_others_is_left_as_it_is() -> None:
    assert inject(f"{DEPLOYMENT}---\n{JOB}", Options()).text.endswith(JOB)


def test_braces_in_a_string_are_no_template() -> None:
    """An alert's own template in a ConfigMap, quoted or in a block, is text."""
    others = "kind: ConfigMap\ndata:\n  one: '{{ $value }}'\n  two: |\n    {{ $labels.job }}\n"
    assert inject(f"{others}---\n{DEPLOYMENT}", Options()).text.startswith(others)


def test_a_merge_key_elsewhere_is_kept() -> None:
    """It stands where inject changes nothing."""
    text = DEPLOYMENT.replace("kind: Deployment", "x-more: &more {a: b}\nkind: Deployment").replace(
        "name: tmp", "<<: *more\n          name: tmp"
    )
    notes(text)
