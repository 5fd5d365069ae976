"""Manifests in, manifests with the sidecar out, and back again. All or nothing: what is refused has changed nothing."""

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
from proxy.inject.objects import KINDS, SIDECAR, WANTED, Thing, number, ports, selects, services, workloads


class Injected(NamedTuple):
    """The new manifests, and what the user should know besides."""

    text: str
    notes: tuple[str, ...]


def inject(text: str, options: Options) -> Injected:
    """Add the sidecar to what is named or annotated, and point the Services at it. Raises `InjectError`."""
    stream = ManifestStream(text)
    known = list(services(stream))
    chosen = _chosen(list(workloads(stream)), options.names)
    notes: list[str] = []
    for workload in chosen:
        if not workload.injected:
            selecting = [service for service in known if selects(service, workload)]
            notes += _inject(workload, selecting, options)
    _check_services(known, chosen, options.services)
    return Injected(str(stream), tuple(notes))


def uninject(text: str, names: Iterable[str] = ()) -> str:
    """Take the sidecar out again, everywhere or of what is named, and give the Services back. Raises `InjectError`."""
    stream = ManifestStream(text)
    wanted, everything = frozenset(names), list(workloads(stream))
    _check_names(everything, wanted)
    chosen = [thing for thing in everything if not wanted or thing.plain_name in wanted]
    given_back = [s for s in services(stream) if any(selects(s, workload) for workload in chosen) or not wanted]
    for thing in (*chosen, *given_back):
        if thing.injected:
            undo(thing)
            thing.document.changed = True
    return str(stream)


def _chosen(found: list[Thing], names: tuple[str, ...]) -> list[Thing]:
    """Return what is named; else what is annotated or was injected before; else the only one."""
    _check_names(found, names)
    chosen = [t for t in found if t.plain_name in names] if names else [t for t in found if t.wanted or t.injected]
    if not chosen and len(found) == 1:
        return found
    if not found:
        raise InjectError(f"there is no {', '.join(KINDS[:-1])} or {KINDS[-1]} in the input")
    if not chosen:
        listed = ", ".join(thing.plain_name for thing in found)
        raise InjectError(f'which of {listed}? Say --name, or annotate it with {WANTED}: "true"')
    return chosen


def _check_names(found: list[Thing], names: Iterable[str]) -> None:
    for name in names:
        if name not in {thing.plain_name for thing in found}:
            listed = ", ".join(thing.plain_name for thing in found)
            raise InjectError(f"no workload in the input is named {name}: there is {listed or 'none'}")


def _check_services(known: list[Thing], chosen: list[Thing], names: Iterable[str]) -> None:
    for name in names:
        found = [service for service in known if service.plain_name == name]
        if not found:
            raise InjectError(f"no Service in the input is named {name}: pass its manifest along")
        if not any(selects(found[0], workload) for workload in chosen):
            raise InjectError(f"service/{name} does not select {', '.join(thing.name for thing in chosen)}")


def _inject(workload: Thing, selecting: list[Thing], options: Options) -> list[str]:
    upstream = options.upstream_port or _upstream_port(workload, selecting)
    _check_pod(workload, options, upstream)
    targeted = [(service, found) for service in selecting if (found := _ports_to(service, workload, upstream))]
    for service, indices in targeted:
        _redirect(service, indices, options.port)
    notes = _add(workload, upstream, options)
    workload.document.changed = True
    if not targeted:
        notes.append(f"no Service in the input sends to {workload.name}: set its targetPort to {options.port}")
    return notes


def _upstream_port(workload: Thing, selecting: list[Thing]) -> int:
    """Return the port that the Services send to; without one, the only port. Of several: port 80's, or http."""
    candidates = dict(_served(workload, selecting))
    if not candidates:
        candidates = {port: name == "http" for one in workload.containers for port, name in ports(one).items()}
    likely = [port for port, first in candidates.items() if first or len(candidates) == 1]
    if len(likely) != 1:
        listed = ", ".join(map(str, candidates)) or "none is declared"
        raise InjectError(f"{workload.name}: which port does the backend listen on ({listed})? Say --upstream-port")
    return likely[0]


def _served(workload: Thing, selecting: list[Thing]) -> Iterator[tuple[int, bool]]:
    """Yield each port that a Service sends to, the likeliest last, and whether it looks like plain HTTP."""
    found = [
        (target, port.get("port") == 80 or port.get("name") == "http")
        for service in selecting
        for port in service.data["spec"].get("ports") or ()
        if (target := number(workload, port.get("targetPort", port.get("port")))) is not None
    ]
    yield from sorted(found, key=itemgetter(1))


def _check_pod(workload: Thing, options: Options, upstream: int) -> None:
    if has_sidecar(workload):
        raise InjectError(f"{workload.name} has a container named {SIDECAR} that inject did not put there")
    if workload.root["spec"].get("shareProcessNamespace"):
        raise InjectError(f"{workload.name} shares its process namespace: the sidecar's preStop hook signals process 1")
    if options.port == options.admin_port:
        raise InjectError(f"port {options.port} is taken by the sidecar itself: say another with --admin-port")
    taken = {upstream: "the backend"}
    for one in workload.all_containers():
        taken |= dict.fromkeys(ports(one), f"container {one['name']}")
    for port, option in ((options.port, "--port"), (options.admin_port, "--admin-port")):
        if port in taken:
            raise InjectError(f"{workload.name}: port {port} is taken by {taken[port]}: say another with {option}")


def _ports_to(service: Thing, workload: Thing, upstream: int) -> list[int]:
    """Return the indices of a Service's ports that send to the backend's."""
    listed = enumerate(service.data["spec"].get("ports") or ())
    return [index for index, port in listed if number(workload, port.get("targetPort", port.get("port"))) == upstream]


def _redirect(service: Thing, indices: list[int], port: int) -> None:
    edits = Edits(service.root)
    for index in indices:
        edits.set(("spec", "ports", str(index), "targetPort"), port)
    edits.note()
    service.document.changed = True


def _add(workload: Thing, upstream: int, options: Options) -> list[str]:
    """Change the pod; return what the user should know."""
    spec, edits, notes = workload.root["spec"], Edits(workload.root), []
    said = spec.get("terminationGracePeriodSeconds")
    grace = GRACE_S if said is None else int(said)
    if grace < LEAST_GRACE_S:
        notes.append(f"{workload.name}: {grace} s to terminate are too short to drain; they are {GRACE_S} now")
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
    edits.note()
    return notes


def _backend(workload: Thing, upstream: int) -> Any:
    """Return the container that declares the port; the first where none does."""
    return next((one for one in workload.containers if upstream in ports(one)), workload.containers[0])


def _annotate(workload: Thing, edits: Edits, backend: str, options: Options) -> None:
    """Let Prometheus find the pod, and kubectl the backend, where nobody has said otherwise."""
    there = workload.annotations(workload.root)
    said = {"kubectl.kubernetes.io/default-container": backend}
    if not any(key.startswith("prometheus.io/") for key in there):
        said |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(options.admin_port),
            "prometheus.io/path": "/metrics",
        }
    for key, value in said.items():
        if key not in there:
            edits.set(("metadata", "annotations", key), value)
