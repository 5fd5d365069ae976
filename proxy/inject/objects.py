"""What of Kubernetes' objects matters here: pods with their containers, and the Services that select them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.inject.manifest_shape import MAKES_PODS, POD, SERVICE, Shape, misfit
from proxy.inject.manifests import InjectError, Manifest, ManifestStream

KINDS = ("Deployment", "StatefulSet", "Pod")
SIDECAR = "backstay"
WANTED = "backstay.dev/inject"
INJECTED = "backstay.dev/injected"


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a document; `root` is what carries the annotation of what was changed."""

    document: Manifest
    data: Any
    root: Any

    @property
    def name(self) -> str:
        """Return what messages call it: `deployment/backend`."""
        return f"{str(self.data['kind']).lower()}/{self.plain_name}"

    @property
    def plain_name(self) -> str:
        """Return its own name, or the prefix that one is made from."""
        metadata = self.data.get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "")

    @property
    def injected(self) -> bool:
        """Tell whether it was changed before."""
        return INJECTED in self.annotations(self.root)

    @property
    def wanted(self) -> bool:
        """Tell whether it is annotated, itself or in its pod template."""
        return any(str(self.annotations(part).get(WANTED)).lower() == "true" for part in (self.data, self.root))

    @staticmethod
    def annotations(part: Any) -> Any:
        """Return the annotations of an object or a template; empty where there are none."""
        return (part.get("metadata") or {}).get("annotations") or {}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of its pods."""
        return dict((self.root.get("metadata") or {}).get("labels") or {})

    @property
    def containers(self) -> Any:
        """Return the containers of its pods, init containers aside."""
        return self.root["spec"]["containers"]

    def all_containers(self) -> Iterator[Any]:
        """Yield every container, init containers too."""
        yield from self.root["spec"].get("initContainers") or ()
        yield from self.containers


def workloads(stream: ManifestStream) -> Iterator[Thing]:
    """Yield everything that makes pods. Raises `InjectError` for one without containers, or of another shape."""
    for document in stream.documents:
        for data in document.objects:
            if data.get("kind") in KINDS:
                _check(data, POD if data["kind"] == "Pod" else MAKES_PODS)
                thing = Thing(document, data, data if data["kind"] == "Pod" else _template(data))
                if not isinstance(thing.root, dict) or not (thing.root.get("spec") or {}).get("containers"):
                    raise InjectError(f"{thing.name} has no containers")
                yield thing


def _template(data: Any) -> Any:
    return (data.get("spec") or {}).get("template")


def services(stream: ManifestStream) -> Iterator[Thing]:
    """Yield the Services. Raises `InjectError` for one of another shape."""
    for document in stream.documents:
        for data in document.objects:
            if data.get("kind") == "Service" and data.get("spec") is not None:
                _check(data, SERVICE)
                yield Thing(document, data, data)


def _check(data: Any, shape: Shape) -> None:
    wrong = misfit(data, shape)
    if wrong:
        metadata = data.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise InjectError(f"{str(data['kind']).lower()}/{name}: {wrong}")


def selects(service: Thing, workload: Thing) -> bool:
    """Tell whether a Service sends to a workload's pods."""
    selector = service.data["spec"].get("selector") or {}
    return bool(selector) and dict(selector).items() <= workload.labels.items()


def ports(container: Any) -> dict[int, str]:
    """Return a container's port numbers and their names."""
    return {int(port["containerPort"]): str(port.get("name", "")) for port in container.get("ports") or ()}


def number(workload: Thing, target: int | str) -> int | None:
    """Return the number that a Service's `targetPort` means in these pods; `None` where no port has that name."""
    if isinstance(target, int):
        return target
    named = {name: port for container in workload.all_containers() for port, name in ports(container).items()}
    return named.get(str(target))
