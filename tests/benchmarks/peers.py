"""The compared proxies and how each is started: one core, access log, request id, keep-alive connections.

Their configurations stand in `configs/` as their own users would write them. Nothing is installed here: a peer that is
missing is left out by name.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.builds import Build
from tests.benchmarks.machine import found
from tests.benchmarks.running import Program
from tests.e2e.sidecar import EXAMPLE, environment

CONFIGS = Path(__file__).parent / "configs"
IDLE_UPSTREAM = 1024  # connections to the backend that each keeps for later; everybody the same


class Place(NamedTuple):
    """Where a peer is started: what its command and its files are filled in with."""

    folder: Path
    port: int
    backend: int
    files: int  # that it may open

    def fill(self, text: str) -> str:
        """Put this place into a text."""
        words = {
            "@FOLDER@": str(self.folder), "@PORT@": str(self.port), "@BACKEND@": str(self.backend),
            "@FILES@": str(self.files), "@HOME@": str(self.folder.parent), "@IDLE@": str(IDLE_UPSTREAM),
        }  # fmt: skip
        for word, value in words.items():
            text = text.replace(word, value)
        return text


@dataclass(frozen=True)
class Peer:
    """A proxy, and how it is started."""

    name: str
    program: str
    arguments: str
    version: str = ""  # the arguments that make it tell its own
    config: str = ""
    environment: Callable[[Place], Mapping[str, str]] = lambda _: {}

    def missing(self) -> str | None:
        """Return what is not installed, or nothing."""
        return None if found(self.program) else self.program

    def tell_version(self) -> str:
        """Return what it says of itself: the first word of it that has a digit and a dot."""
        said = subprocess.run(
            (str(found(self.program)), *self.version.split()), capture_output=True, text=True, check=False, timeout=20
        )
        words = (said.stdout + said.stderr).replace("/", " ").split()
        return next((word for word in words if word.strip("v")[:1].isdigit() and "." in word), "of unknown version")

    def start(self, place: Place, core: int) -> Program:
        """Start it in its place."""
        if self.config:
            (place.folder / self.config).write_text(place.fill((CONFIGS / self.config).read_text()))
        command = (str(found(self.program)), *place.fill(self.arguments).split())
        its_own = {
            **os.environ,
            **self.environment(place),
            "PYTHONPYCACHEPREFIX": str(place.folder.parent / "bytecode"),
        }
        its_own.pop("PYTHONDONTWRITEBYTECODE", None)  # or a start would be a compilation
        return Program.start(self.name, command, place.port, core=core, folder=place.folder, environment=its_own)


class Node(Peer):
    """node's http-proxy: a module, for which node has to be told where to look."""

    def missing(self) -> str | None:
        """Return what is not installed, or nothing."""
        if (node := found("node")) is None:
            return "node"
        asked = subprocess.run(
            (node, "-e", "require('http-proxy')"), env=os.environ | node_path(), capture_output=True, check=False
        )
        return "http-proxy" if asked.returncode else None

    def tell_version(self) -> str:
        """Return the module's version."""
        asked = (str(found("node")), "-p", "require('http-proxy/package.json').version + ', node ' + process.version")
        return subprocess.check_output(asked, env=os.environ | node_path(), text=True).strip()


class Ours(Peer):
    """What this interpreter runs; `version` is a distribution's name."""

    def missing(self) -> str | None:
        """Return nothing: it is here."""
        return None

    def tell_version(self) -> str:
        """Return the distribution's version."""
        return version(self.version)


def node_path() -> dict[str, str]:
    """Return where global modules are, if nobody has said otherwise."""
    npm = found("npm")
    if "NODE_PATH" in os.environ or npm is None:
        return {}
    return {"NODE_PATH": subprocess.check_output((npm, "root", "-g"), text=True).strip()}


def sidecar(build: Build, place: Place) -> dict[str, str]:
    """Return the settings that the example's file leaves to the place."""
    return build.environment(
        listen__address=f"127.0.0.1:{place.port}",
        listen__drain_delay="0s",
        admin__address="127.0.0.1:0",
        upstreams__sessions__url=f"http://127.0.0.1:{place.backend}",
        upstreams__sessions__max_idle=str(IDLE_UPSTREAM),
        audit__path=str(place.folder / "audit.jsonl"),
        audit__rotate_size="512MiB",
        audit__compress="false",
        audit__keep_files="1",  # a soak must not fill the disk
    )


def backstay(build: Build, case: str = "", routes: int = 0) -> Peer:
    """Return a build with the example's configuration, or with so many routes of which only the last is used."""
    config = "@FOLDER@/backstay.toml"

    def prepare(place: Place) -> dict[str, str]:
        (place.folder / "backstay.toml").write_text(routed(routes) if routes else EXAMPLE.read_text())
        return sidecar(build, place)

    name = f"{build.name}, {case}" if case else build.name
    return Peer(name, build.program("backstay"), f"run --config {config}", "--version", environment=prepare)


def routed(count: int) -> str:
    """Return the example's configuration with `count` routes in place of its own."""
    head = EXAMPLE.read_text().partition("[[routes]]")[0]
    others = [
        f'[[routes]]\noperation = "other-{number}"\nmatch = "GET /api/others-{number}/{{report_id}}"\n'
        'subject = "path:report_id"\n'
        for number in range(count - 1)
    ]
    used = (
        '[[routes]]\noperation = "session-load"\nmatch = "GET /api/sessions/{report_id}"\nsubject = "path:report_id"\n'
        'circuit = "restoration"\n'  # the example's, which some route must name
    )
    return "\n".join((head, *others, used))


PEERS: tuple[Peer, ...] = (
    Peer("nginx", "nginx", "-p @FOLDER@ -e @FOLDER@/error.log -c @FOLDER@/nginx.conf", "-v", "nginx.conf"),
    Peer("HAProxy", "haproxy", "-f @FOLDER@/haproxy.cfg", "-v", "haproxy.cfg"),
    Peer(
        "Envoy", "envoy", "-c @FOLDER@/envoy.yaml --concurrency 1 --disable-hot-restart -l warn", "--version",
        "envoy.yaml",
    ),
    Peer(
        "Caddy", "caddy", "run --config @FOLDER@/Caddyfile --adapter caddyfile", "version", "Caddyfile",
        lambda place: {"GOMAXPROCS": "1", "HOME": str(place.folder)},
    ),
    Node("node http-proxy", "node", "@FOLDER@/http_proxy.js", "", "http_proxy.js", lambda _: node_path()),
    Ours(
        "naive aiohttp", sys.executable, "-m tests.benchmarks.naive @PORT@ @BACKEND@", "aiohttp",
        environment=lambda _: environment(),
    ),
    Peer(
        "mitmproxy", "mitmdump",
        "--mode reverse:http://127.0.0.1:@BACKEND@ --listen-host 127.0.0.1 --listen-port @PORT@ "
        "--set confdir=@HOME@/certificates --set keep_host_header=true -s @FOLDER@/request_id.py",
        "--version", "request_id.py",
    ),
)  # fmt: skip
