"""Add the sidecar to manifests and remove it again. An error leaves every manifest unchanged."""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from proxy.inject.container import (
    GRACE_S,
    LEAST_GRACE_S,
    Options,
    Times,
    container,
    sleep,
    volumes,
)
from proxy.inject.edits import Edits, has_sidecar, undo
from proxy.inject.manifests import InjectError, ManifestStream
from proxy.inject.objects import (
    KINDS,
    SIDECAR,
    WANTED,
    Resource,
    ending,
    number,
    ports,
    refuse_merge_keys,
    selects,
    services,
    workloads,
)

_KINDS_LISTED = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"


class Injected(NamedTuple):
    """The new manifests, and hints for the user."""

    text: str
    notes: tuple[str, ...]


def inject(text: str, options: Options) -> Injected:
    """Add the sidecar to named or annotated workloads, and point the Services at it. Raise `InjectError`."""
    stream = ManifestStream(text)
    known = list(services(stream))
    found = list(workloads(stream))
    _refuse_ending(list(ending(stream)), options.names, others=bool(found))
    chosen = _chosen(found, options.names)
    notes: list[str] = []
    for workload in chosen:
        if not workload.injected:
            selecting = [service for service in known if selects(service, workload)]
            notes += _inject(workload, selecting, options)
    _check_services(known, chosen, options.services)
    return Injected(str(stream), tuple(notes))


def uninject(text: str, names: Iterable[str] = ()) -> str:
    """Remove the sidecar from all or the named workloads, and restore the Services. Raise `InjectError`."""
    stream = ManifestStream(text)
    wanted, everything = frozenset(names), list(workloads(stream))
    _check_names(everything, wanted)
    chosen = [resource for resource in everything if not wanted or resource.plain_name in wanted]
    given_back = [s for s in services(stream) if any(selects(s, workload) for workload in chosen) or not wanted]
    for resource in (*chosen, *given_back):
        if resource.injected:
            undo(resource)
            resource.document.changed = True
    return str(stream)


def _chosen(found: list[Resource], names: tuple[str, ...]) -> list[Resource]:
    """Return the named workloads; else the annotated or already injected ones; else the only one."""
    _check_names(found, names)
    chosen = [t for t in found if t.plain_name in names] if names else [t for t in found if t.wanted or t.injected]
    if not chosen and len(found) == 1:
        return found
    if not found:
        raise InjectError(f"there is no {_KINDS_LISTED} in the input")
    if not chosen:
        listed = ", ".join(resource.plain_name for resource in found)
        raise InjectError(f'which of {listed}? Add --name, or annotate it with {WANTED}: "true"')
    return chosen


def _refuse_ending(found: list[Resource], names: tuple[str, ...], *, others: bool) -> None:
    """Refuse a Job that is named or annotated, or the only one there is."""
    for resource in found:
        if resource.wanted or resource.plain_name in names or not others:
            text = f"{resource.name} runs to its end and serves no requests: inject is for a {_KINDS_LISTED}"
            raise InjectError(text)


def _check_names(found: list[Resource], names: Iterable[str]) -> None:
    for name in names:
        if name not in {resource.plain_name for resource in found}:
            listed = ", ".join(resource.plain_name for resource in found)
            raise InjectError(f"no workload in the input is named {name}: there is {listed or 'none'}")


def _check_services(known: list[Resource], chosen: list[Resource], names: Iterable[str]) -> None:
    for name in names:
        found = [service for service in known if service.plain_name == name]
        if not found:
            raise InjectError(f"no Service in the input is named {name}: add its manifest to the input")
        if not any(selects(found[0], workload) for workload in chosen):
            raise InjectError(f"service/{name} does not select {', '.join(resource.name for resource in chosen)}")


def _inject(workload: Resource, selecting: list[Resource], options: Options) -> list[str]:
    upstream = options.upstream_port or _upstream_port(workload, selecting)
    _check_pod(workload, options, upstream)
    for resource in (workload, *selecting):
        refuse_merge_keys(resource)
    targeted = [(service, found) for service in selecting if (found := _ports_to(service, workload, upstream))]
    for service, indices in targeted:
        _redirect(service, indices, options.port)
    notes = _ways_around(workload, [service for service, _ in targeted], options)
    notes += _add(workload, upstream, options)
    workload.document.changed = True
    if not targeted:
        notes.append(f"no Service in the input sends to {workload.name}: set its targetPort to {options.port}")
    return notes


def _ways_around(workload: Resource, targeted: list[Resource], options: Options) -> list[str]:
    """Return hints about requests and scrapes that do not pass through the sidecar."""
    spec, port = workload.root["spec"], options.port
    notes = [
        f"{service.name} is headless: clients that connect to the pods must use port {port} themselves"
        for service in targeted
        if service.data["spec"].get("clusterIP") == "None"
    ]
    notes += [
        f"{workload.name}: hostPort {given['hostPort']} of container {one['name']} bypasses the sidecar: remove it"
        for one in workload.containers
        for given in one.get("ports") or ()
        if given.get("hostPort")
    ]
    if spec.get("hostNetwork"):
        notes.append(f"{workload.name}: the sidecar takes the ports {port} and {options.admin_port} of each node")
    if str(workload.annotations(workload.root).get("prometheus.io/scrape")).lower() == "true":
        notes.append(
            f"{workload.name}: its prometheus.io annotations are kept and scrape the backend: scrape port "
            f"{options.admin_port} as well"
        )
    return notes


def _upstream_port(workload: Resource, selecting: list[Resource]) -> int:
    """Return the port that the Services target, else the only declared port. Of several: port 80's target, or http."""
    candidates = dict(_served(workload, selecting))
    if not candidates:
        candidates = {port: name == "http" for one in workload.containers for port, name in ports(one).items()}
    likely = [port for port, first in candidates.items() if first or len(candidates) == 1]
    if len(likely) != 1:
        listed = ", ".join(map(str, candidates)) or "none is declared"
        raise InjectError(f"{workload.name}: which port does the backend listen on ({listed})? Add --upstream-port")
    return likely[0]


def _served(workload: Resource, selecting: list[Resource]) -> Iterator[tuple[int, bool]]:
    """Yield each port that a Service targets, the likeliest last, and whether it looks like plain HTTP."""
    found = [
        (target, port.get("port") == 80 or port.get("name") == "http")
        for service in selecting
        for port in service.data["spec"].get("ports") or ()
        if (target := number(workload, port.get("targetPort", port.get("port")))) is not None
    ]
    yield from sorted(found, key=itemgetter(1))


def _check_pod(workload: Resource, options: Options, upstream: int) -> None:
    if has_sidecar(workload):
        raise InjectError(f"{workload.name} has a container named {SIDECAR} that inject did not add")
    if workload.root["spec"].get("shareProcessNamespace"):
        raise InjectError(f"{workload.name} shares its process namespace: the sidecar's preStop hook signals process 1")
    there = [volume.get("name") for volume in workload.root["spec"].get("volumes") or ()]
    for volume in volumes(options):
        if volume["name"] in there:
            raise InjectError(f"{workload.name} has a volume named {volume['name']} that inject did not add: rename it")
    if options.port == options.admin_port:
        raise InjectError(f"port {options.port} is taken by the sidecar itself: choose another with --admin-port")
    taken = {upstream: "the backend"}
    for one in workload.all_containers():
        taken |= dict.fromkeys(ports(one), f"container {one['name']}")
    for port, option in ((options.port, "--port"), (options.admin_port, "--admin-port")):
        if port in taken:
            raise InjectError(f"{workload.name}: port {port} is taken by {taken[port]}: choose another with {option}")


def _ports_to(service: Resource, workload: Resource, upstream: int) -> list[int]:
    """Return the indices of a Service's ports that target the backend's port."""
    listed = enumerate(service.data["spec"].get("ports") or ())
    return [index for index, port in listed if number(workload, port.get("targetPort", port.get("port"))) == upstream]


def _redirect(service: Resource, indices: list[int], port: int) -> None:
    edits = Edits(service.root)
    for index in indices:
        edits.set(("spec", "ports", str(index), "targetPort"), port)
    edits.record()
    service.document.changed = True


def _add(workload: Resource, upstream: int, options: Options) -> list[str]:
    """Change the pod and return hints for the user."""
    spec, edits, notes = workload.root["spec"], Edits(workload.root), []
    given = spec.get("terminationGracePeriodSeconds")
    grace = GRACE_S if given is None else int(given)
    if grace < LEAST_GRACE_S:
        notes.append(f"{workload.name}: {grace} s to terminate are too short to drain; raised to {GRACE_S} s")
        edits.set(("spec", "terminationGracePeriodSeconds"), grace := GRACE_S)
    times = Times(grace)
    backend = _backend(workload, upstream)
    if "preStop" in (backend.get("lifecycle") or {}):
        hook = f"the preStop hook of container {backend['name']}"
        notes.append(f"{workload.name}: {hook} must last {times.backend_sleep} s")
    else:
        edits.set(("spec", "containers", backend["name"], "lifecycle", "preStop"), sleep(options, times))
    for volume in volumes(options):
        edits.add(("spec", "volumes"), volume)
    edits.add(("spec", "initContainers" if options.native else "containers"), container(options, upstream, times))
    _annotate(workload, edits, backend["name"], options)
    edits.record()
    return notes


def _backend(workload: Resource, upstream: int) -> Any:
    """Return the container that declares the port, else the first container."""
    return next((one for one in workload.containers if upstream in ports(one)), workload.containers[0])


def _annotate(workload: Resource, edits: Edits, backend: str, options: Options) -> None:
    """Add the annotations for Prometheus and kubectl that the workload does not set itself."""
    there = workload.annotations(workload.root)
    annotations = {"kubectl.kubernetes.io/default-container": backend}
    if not any(key.startswith("prometheus.io/") for key in there):
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(options.admin_port),
            "prometheus.io/path": "/metrics",
        }
    for key, value in annotations.items():
        if key not in there:
            edits.set(("metadata", "annotations", key), value)
