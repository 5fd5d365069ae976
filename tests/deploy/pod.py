"""Simulate a pod with processes: the rendered containers are probed, hooked and ended in a kubelet's order."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.deploy.tools import Document
from tests.ports import reserved_port

Container = dict[str, Any]


class Pod:
    """One pod of the rendered template. Its address is 127.0.0.1, so its ports are its own; all else is as rendered."""

    def __init__(self, template: Document, config: str, place: Path) -> None:
        """Lay out the pod's volumes in `place`."""
        spec = template["spec"]
        self.sidecar: Container = next(
            one for one in [*spec.get("initContainers", []), *spec["containers"]] if one["name"] == "backstay"
        )
        self.backend: Container = next(one for one in spec["containers"] if one["name"] == "backend")
        self.native = self.sidecar.get("restartPolicy") == "Always"
        self.grace_s: int = spec["terminationGracePeriodSeconds"]
        self.port = 0
        self.admin_port = 0
        self._place = place
        self._backend_port = reserved_port()
        self._processes: dict[str, Process] = {}
        place.mkdir()
        (place / "backstay.toml").write_text(config, encoding="utf-8")

    async def start(self) -> None:
        """Start the containers, a native sidecar first and alone until its startup probe succeeds; wait until ready."""
        if not self.native:
            await self._start_backend()
        await self._start_sidecar()
        await self.probe("startup")
        if self.native:
            await self._start_backend()
        await self.probe("readiness")
        await self._listening(self._backend_port)

    async def probe(self, kind: str) -> None:
        """Ask until the probe succeeds, as often as its threshold allows."""
        for _ in range(self.sidecar[f"{kind}Probe"].get("failureThreshold", 3) * 20):
            if await self.probed(kind):
                return
            await asyncio.sleep(0.2)  # noqa: TID251 - a kubelet asks by the clock
        raise AssertionError(f"the {kind} probe never succeeded")

    async def probed(self, kind: str) -> bool:
        """Ask once, from outside the pod; 2xx and 3xx are success."""
        path = self.sidecar[f"{kind}Probe"]["httpGet"]["path"]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: kubelet\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
        except OSError:
            return False
        return line.split()[1:2] < [b"400"] and bool(line)

    async def end(self) -> dict[str, int]:
        """End it as a kubelet does; return the exit statuses. Raises TimeoutError beyond its grace period."""
        async with asyncio.timeout(self.grace_s):
            if self.native:  # its hook runs at once, its SIGTERM comes last
                await asyncio.gather(self._hook("backstay"), self._hooked("backend"))
                await self._terminate("backstay")
            else:
                await asyncio.gather(self._hooked("backstay"), self._hooked("backend"))
        return {name: process.returncode or 0 for name, process in self._processes.items()}

    @property
    def backend_process(self) -> Process:
        """Return the backend's process."""
        return self._processes["backend"]

    async def kill(self) -> None:
        """Clear away whatever still runs."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _hooked(self, name: str) -> None:
        await self._hook(name)
        await self._terminate(name)

    async def _hook(self, name: str) -> None:
        """Run a preStop hook."""
        hook = (self.sidecar if name == "backstay" else self.backend)["lifecycle"]["preStop"]
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])  # noqa: TID251 - what the hook is
            return
        command = [*hook["exec"]["command"]]
        if command[0] == "backstay":  # in its container it is process 1
            own = str(self._processes[name].pid)
            command = [sys.executable, "-m", "proxy", *(own if word == "1" else word for word in command[1:])]
        done = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert await done.wait() == 0

    async def _terminate(self, name: str) -> None:
        process = self._processes[name]
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()

    async def _start_backend(self) -> None:
        port = str(self._backend_port)
        self._processes["backend"] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.deploy.backend", port
        )

    async def _start_sidecar(self) -> None:
        """Run the rendered arguments and environment; only addresses and paths are this machine's."""
        arguments = [word.replace("/etc/backstay", str(self._place)) for word in self.sidecar["args"]]
        rendered = {one["name"]: one["value"] for one in self.sidecar["env"]}
        own = {
            "BACKSTAY_ADMIN__ADDRESS": "127.0.0.1:0",
            "BACKSTAY_LISTEN__ADDRESS": "127.0.0.1:0",
            "BACKSTAY_UPSTREAMS__BACKEND__URL": f"http://127.0.0.1:{self._backend_port}",
            "BACKSTAY_AUDIT__PATH": str(self._place / "audit.jsonl"),
            "BACKSTAY_DEFAULTS__TOTAL_TIMEOUT": "9s",  # a slow request of a busy machine is no failure
        }
        with (self._place / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "proxy",
                *arguments,
                env={**os.environ, **rendered, **own},
                stdout=PIPE,
                stderr=log,
            )
        self._processes["backstay"] = process
        assert process.stdout is not None
        ready = (await process.stdout.readline()).decode().split()
        assert ready, (self._place / "log").read_text()
        self.port, self.admin_port = (int(ready[at].rpartition(":")[2]) for at in (3, 5))

    async def _listening(self, port: int) -> None:
        for _ in range(2_000):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)  # noqa: TID251 - another process gives no event
        raise AssertionError("the backend never listened")
