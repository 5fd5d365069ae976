"""The parts of Kubernetes objects that an injection uses: pods, their containers, and the Services that select them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.inject.manifest_shape import MAKES_PODS, NAMED, POD, SERVICE, Shape, misfit
from proxy.inject.manifests import InjectError, Manifest, ManifestStream

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Pod")
ENDING_KINDS = ("Job", "CronJob")  # their pods serve nobody
SIDECAR = "backstay"
WANTED = "backstay.dev/inject"
INJECTED = "backstay.dev/injected"


@dataclass(frozen=True, slots=True)
class Resource:
    """One object of a manifest. The annotations of `root`, the object or its pod template, record the changes."""

    document: Manifest
    data: Any
    root: Any

    @property
    def name(self) -> str:
        """Return the object's name in messages: `deployment/backend`."""
        return f"{str(self.data['kind']).lower()}/{self.plain_name}"

    @property
    def plain_name(self) -> str:
        """Return the object's own name, or the prefix of a generated one."""
        metadata = self.data.get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "")

    @property
    def injected(self) -> bool:
        """Tell whether the sidecar was added before."""
        return INJECTED in self.annotations(self.root)

    @property
    def wanted(self) -> bool:
        """Tell whether the object or its pod template has the annotation that asks for the sidecar."""
        return any(str(self.annotations(part).get(WANTED)).lower() == "true" for part in (self.data, self.root))

    @staticmethod
    def annotations(part: Any) -> Any:
        """Return the annotations of an object or a template; empty if there are none."""
        return (part.get("metadata") or {}).get("annotations") or {}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of the object's pods."""
        return dict((self.root.get("metadata") or {}).get("labels") or {})

    @property
    def containers(self) -> Any:
        """Return the containers of the object's pods, without init containers."""
        return self.root["spec"]["containers"]

    def all_containers(self) -> Iterator[Any]:
        """Yield every container, including init containers."""
        yield from self.root["spec"].get("initContainers") or ()
        yield from self.containers


def workloads(stream: ManifestStream) -> Iterator[Resource]:
    """Yield every object that creates pods. Raise `InjectError` for one without containers, or of another shape."""
    for document in stream.documents:
        for data in document.objects:
            if data.get("kind") in KINDS:
                _check(data, POD if data["kind"] == "Pod" else MAKES_PODS)
                resource = Resource(document, data, data if data["kind"] == "Pod" else _template(data))
                if not isinstance(resource.root, dict) or not (resource.root.get("spec") or {}).get("containers"):
                    raise InjectError(f"{resource.name} has no containers")
                yield resource


def ending(stream: ManifestStream) -> Iterator[Resource]:
    """Yield the objects whose pods run to an end."""
    for document in stream.documents:
        for data in document.objects:
            if data.get("kind") in ENDING_KINDS:
                _check(data, NAMED)
                yield Resource(document, data, data)


def _template(data: Any) -> Any:
    return (data.get("spec") or {}).get("template")


def refuse_merge_keys(resource: Resource) -> None:
    """Raise `InjectError` for a YAML merge key where the sidecar changes something: it would change the source too."""
    spec = resource.root.get("spec") or {}
    parts = [resource.data, resource.data.get("spec"), resource.root, resource.root.get("metadata"), spec]
    containers, ports = spec.get("containers") or (), spec.get("ports") or ()
    parts += [Resource.annotations(resource.root), *containers, *ports]
    parts += [container.get("lifecycle") for container in containers]
    if any(getattr(part, "merge", None) for part in parts):
        raise InjectError(
            f"{resource.name}: a YAML merge key (<<) stands where inject adds fields: write them out there"
        )


def services(stream: ManifestStream) -> Iterator[Resource]:
    """Yield the Services. Raise `InjectError` for a Service of another shape."""
    for document in stream.documents:
        for data in document.objects:
            if data.get("kind") == "Service" and data.get("spec") is not None:
                _check(data, SERVICE)
                yield Resource(document, data, data)


def _check(data: Any, shape: Shape) -> None:
    wrong = misfit(data, shape)
    if wrong:
        metadata = data.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise InjectError(f"{str(data['kind']).lower()}/{name}: {wrong}")


def selects(service: Resource, workload: Resource) -> bool:
    """Tell whether a Service selects a workload's pods."""
    selector = service.data["spec"].get("selector") or {}
    return bool(selector) and dict(selector).items() <= workload.labels.items()


def ports(container: Any) -> dict[int, str]:
    """Return a container's port numbers, each with its name."""
    return {int(port["containerPort"]): str(port.get("name", "")) for port in container.get("ports") or ()}


def number(workload: Resource, target: int | str) -> int | None:
    """Return the port number of a Service's `targetPort` in these pods; `None` if no port has that name."""
    if isinstance(target, int):
        return target
    named = {name: port for container in workload.all_containers() for port, name in ports(container).items()}
    return named.get(str(target))
