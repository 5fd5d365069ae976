"""The compared proxies, each a real process in its own folder: Backstay, and those that Debian packages.

Each is set so that it shares as much as it can, and keeps nothing that the backend did not allow to be kept: with
`proxy_cache_valid` nginx would share a 500 too, and give it to whoever asks later. nginx lets its callers wait for
another's answer as long as Backstay does (`total_timeout`, 2 s); its default of 5 s is worse for it here. Only for POST
it does what it was not made for: the body is in its key, and a 201 is kept for a second.
"""

import asyncio
import getpass
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from proxy.demo.sidecar_process import COMMAND
from tests.benchmarks.builds import Build
from tests.benchmarks.sharing.clients import CLOCK
from tests.e2e.sidecar import sidecar
from tests.ports import reserved_port

STARTED_WITHIN_S = 20.0  # Varnish compiles its configuration
ENDED_WITHIN_S = 10.0

BACKSTAY = """\
[log]
level = "warning"
[[routes]]
operation = "read"
match = "GET /{case}/{round}"
[[routes]]
operation = "create"
match = "POST /create/{round}"
subject = "body:/reportId"
coalesce = "subject"
"""

NGINX = """\
user %(user)s;
daemon off;
worker_processes 2;
error_log error.log;
pid nginx.pid;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  proxy_cache_path cache keys_zone=shared:10m;
  upstream backend { server 127.0.0.1:%(backend)d; keepalive 64; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_ignore_client_abort on;
  proxy_cache shared;
  proxy_cache_lock on;
  proxy_cache_lock_timeout 2s;
  server {
    listen 127.0.0.1:%(port)d backlog=1024;
    location / { proxy_pass http://backend; }
    location /create/ {
      proxy_cache_methods POST;
      proxy_cache_key $request_uri$request_body;
      proxy_cache_valid 201 1s;
      proxy_pass http://backend;
    }
  }
}
"""

Start = Callable[[Path, str], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def backstay(
    folder: Path, upstream: str, command: Sequence[str] = COMMAND, total_timeout: str = "2s", **variables: str
) -> AsyncIterator[int]:
    """Run the sidecar: safe requests shared by default, creates by their subject."""
    running = sidecar(folder, upstream, BACKSTAY, command, defaults__total_timeout=total_timeout, **variables)
    async with running as child:
        port = urlsplit(child.url).port
        assert port is not None
        yield port


def built(build: Build) -> Start:
    """Return what runs a build of the sidecar."""

    def start(folder: Path, upstream: str) -> AbstractAsyncContextManager[int]:
        return backstay(folder, upstream, (build.program("backstay"),), **build.path())

    return start


@asynccontextmanager
async def nginx(folder: Path, upstream: str) -> AsyncIterator[int]:
    """Run nginx with its cache and the cache's lock."""
    port = reserved_port()
    names = {"user": getpass.getuser(), "backend": urlsplit(upstream).port, "port": port}
    (folder / "nginx.conf").write_text(NGINX % names)
    async with _running(port, folder, "nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"):
        yield port


@asynccontextmanager
async def varnish(folder: Path, upstream: str) -> AsyncIterator[int]:
    """Run Varnish as it is without any configuration."""
    port = reserved_port()
    behind = upstream.removeprefix("http://")
    listen = ("-a", f"127.0.0.1:{port}", "-b", behind, "-n", str(folder / "varnish"), "-s", "malloc,64m")
    async with _running(port, folder, "varnishd", "-F", "-j", "none", *listen):
        yield port


PEERS: dict[str, tuple[str, Start]] = {"nginx": ("nginx", nginx), "Varnish": ("varnishd", varnish)}


def found(program: str) -> str | None:
    """Return where a program is; Debian has servers where a user's PATH does not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@asynccontextmanager
async def _running(port: int, folder: Path, program: str, *arguments: str) -> AsyncIterator[None]:
    """Run a program until the block ends; it has started when its port accepts."""
    path = found(program)
    assert path is not None
    with (folder / "said.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            path, *arguments, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        await _accepting(port, process, folder)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), ENDED_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _accepting(port: int, process: asyncio.subprocess.Process, folder: Path) -> None:
    async with asyncio.timeout(STARTED_WITHIN_S):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await CLOCK.sleep(0.05)
            else:
                writer.close()
                return
    raise RuntimeError(f"it ended by itself: {(folder / 'said.log').read_text()}")
