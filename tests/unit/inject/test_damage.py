"""Manifests of a wrong shape: one sentence that names the object, and no change."""

import copy
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.inject.container import Options
from proxy.inject.manifests import InjectError
from proxy.inject.objects import SIDECAR
from proxy.inject.transform import inject, uninject

DEPLOYMENT = """
kind: Deployment
metadata: {name: backend}
spec:
  template:
    metadata: {labels: {app: backend}}
    spec:
      terminationGracePeriodSeconds: 60
      volumes: [{name: tmp}]
      containers: [{name: app, ports: [{name: http, containerPort: 8000}]}]
"""
POD = """
kind: Pod
metadata: {name: backend, labels: {app: backend}, annotations: {a: b}}
spec: {initContainers: [{name: first}], containers: [{name: app, lifecycle: {}, ports: [{containerPort: 8000}]}]}
"""
SERVICE = """
kind: Service
metadata: {name: backend}
spec: {selector: {app: backend}, ports: [{name: http, port: 80, targetPort: 8000}]}
"""
STARTS = {"deployment": f"{DEPLOYMENT}---{SERVICE}", "pod": f"{POD}---{SERVICE}"}
JUNK: tuple[Any, ...] = ("gone", None, 7, True, "x", [], {}, [7], {"a": 1}, [{}], [None])
COMMANDS: dict[str, Callable[[str], object]] = {
    "inject": lambda text: inject(text, Options()),
    "uninject": uninject,
}
YAML_ = YAML(typ="safe", pure=True)


def places(node: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every node below this one."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (key,)
        yield from ((key, *rest) for rest in places(inner))


def damaged(text: str, junk: Any) -> Iterator[str]:
    """Yield the manifests with one node gone, or replaced by what does not belong there."""
    documents = [document for document in YAML_.load_all(text) if document]
    for path in places(documents):
        changed = copy.deepcopy(documents)
        node: Any = changed
        for key in path[:-1]:
            node = node[key]
        if junk == "gone":
            del node[path[-1]]
        else:
            node[path[-1]] = junk
        written = StringIO()
        YAML_.dump_all(changed, written)
        yield written.getvalue()


def refusals(command: Callable[[str], object], text: str, junk: Any) -> Iterator[str]:
    """Yield what the command says of the manifests that it refuses."""
    for changed in damaged(text, junk):
        try:
            command(changed)
        except InjectError as error:
            yield str(error)


def short(injected: str) -> str:
    """Return injected manifests with nothing in the sidecar's container but its name: they are read many times."""
    documents = [document for document in YAML_.load_all(injected) if document]
    pod = documents[0]["spec"].get("template", documents[0])["spec"]
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        if container["name"] == SIDECAR:
            container.clear()
            container["name"] = SIDECAR
    written = StringIO()
    YAML_.dump_all(documents, written)
    return written.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_whatever_is_in_a_manifest_nothing_else_is_raised(start: str, junk: Any, command: str) -> None:
    """Before, some ninety of these were tracebacks. What is not refused may be undone."""
    assert not [said for said in refusals(COMMANDS[command], STARTS[start], junk) if "\n" in said]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("junk", ["gone", 7, [], {"a": 1}], ids=str)
def test_what_was_changed_since_is_undone_or_refused(start: str, junk: Any) -> None:
    """Somebody edited what was injected, the note of what is to be undone among it."""
    said = list(refusals(uninject, short(inject(STARTS[start], Options()).text), junk))
    assert said
    assert not [one for one in said if "\n" in one]


NOTE = "backstay.dev/injected: "


@pytest.mark.parametrize("note", ["", "{", "[]", '{"added":["/spec/volumes/nobody"]}', '{"was":{"/spec/none/x":1}}'])
def test_a_note_that_does_not_fit_is_one_sentence(note: str) -> None:
    """It names the object, the annotation, and what to do."""
    text = DEPLOYMENT.replace("metadata: {labels", f"metadata: {{annotations: {{{NOTE}'{note}'}}, labels")
    with pytest.raises(InjectError, match=r"^deployment/backend: the annotation backstay.dev/injected does not fit"):
        uninject(text)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("containerPort: 8000", "containerPort: http", "spec.template.spec.containers[0].ports[0].containerPort is a "
         "text, and must be a whole number"),
        ("{name: app, ", "{", "spec.template.spec.containers[0].name is missing or null, and must be a text"),
        ("[{name: tmp}]", "[null]", "spec.template.spec.volumes[0] is missing or null, and must be a table"),
        ("{app: backend}", "[app]", "spec.template.metadata.labels is a list, and must be a table"),
    ],
)  # fmt: skip
def test_what_has_another_shape_is_named(before: str, after: str, said: str) -> None:
    """By its path, with the shape that it must have."""
    with pytest.raises(InjectError) as refused:
        inject(DEPLOYMENT.replace(before, after), Options())
    assert str(refused.value) == f"deployment/backend: {said}"
