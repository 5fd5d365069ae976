"""TLS on either leg, with certificates that change at run time."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.clock import SystemClock
from proxy.config.load import load
from proxy.config.settings import Settings
from tests.wire.kit import Backend, exposition, soon

GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def issue(folder: Path, name: str, file_name: str = "certificate.pem") -> Path:
    """Make a self-signed certificate for localhost, key and all in one file."""
    file = folder / file_name
    command = (
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-",
    )  # fmt: skip
    file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return file


async def shown(port: int) -> bytes:
    """Return the certificate that a listener shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await soon(asyncio.open_connection("127.0.0.1", port, ssl=context))
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(der, bytes)
    return der


def settings(tmp_path: Path, upstream: str, listen: str = "", more: str = "") -> Settings:
    """Return the settings of a sidecar before `upstream`."""
    file = tmp_path / "config.toml"
    file.write_text(
        f'[listen]\naddress = "127.0.0.1:0"\ndrain_timeout = "1s"\n{listen}\n[admin]\naddress = "127.0.0.1:0"\n'
        f'[audit]\npath = "{tmp_path}/audit.jsonl"\n[upstreams.b]\nurl = "{upstream}"\n{more}\n'
    )
    return load(file, environ={})


def renewed(sidecar: Sidecar) -> float:
    """Return how many seconds the exported certificate is still valid; it is made for two days."""
    name = 'backstay_certificate_expiry_timestamp_seconds{certificate="listen"} '
    (line,) = [line for line in exposition(sidecar).splitlines() if line.startswith(name)]
    left_s = float(line.removeprefix(name)) - SystemClock().wall()
    assert left_s < 2 * 86_400 + 60
    return left_s


async def test_the_listener_speaks_tls_and_shows_a_renewed_certificate(tmp_path: Path) -> None:
    """The backend is told https; after a reload, new handshakes see the new file; a broken one changes nothing."""
    certificate = issue(tmp_path, "first")
    backend = await Backend(split=False).start()
    read = settings(tmp_path, f"http://127.0.0.1:{backend.port}", f'tls_certificate = "{certificate}"')
    sidecar = Sidecar(read)
    await sidecar.start()
    assert sidecar.url.startswith("https://")
    port = int(sidecar.url.rpartition(":")[2])
    first = await shown(port)

    context = ssl.create_default_context(cafile=str(certificate))
    reader, writer = await soon(asyncio.open_connection("localhost", port, ssl=context))
    writer.write(GET)
    line = await backend.connection()
    assert (await line.head()).get(b"x-forwarded-proto") == b"https"
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await soon(reader.read())).endswith(b"\r\n\r\nhi")
    writer.close()

    issue(tmp_path, "second")
    await sidecar.reload(lambda: read)
    second = await shown(port)
    assert second != first
    assert renewed(sidecar) > 0
    certificate.write_text("no certificate")
    (tmp_path / "config.toml").write_text(
        (tmp_path / "config.toml").read_text().replace("[upstreams.b]", "[upstreams.other]")
        + '[[routes]]\noperation = "new"\nmatch = "GET /new"\n[upstreams.other.breaker]\nfailure_threshold = 9\n'
    )
    before = (sidecar.settings, sidecar._ports, dict(sidecar._assembly.breakers), set(sidecar._assembly.pools))
    await sidecar.reload(lambda: load(tmp_path / "config.toml", environ={}))
    assert await shown(port) == second
    assert (sidecar.settings, sidecar._ports, sidecar._assembly.breakers, set(sidecar._assembly.pools)) == before
    await backend.close()
    await sidecar.stop(delay_s=0.0)


@pytest.mark.parametrize(("trusted", "status"), [(True, b"200"), (False, b"502")])
async def test_the_backend_may_speak_tls_and_must_be_vouched_for(tmp_path: Path, trusted: bool, status: bytes) -> None:
    """With its authority configured it is asked; without, the answer is a 502 that names the certificate."""
    certificate = issue(tmp_path, "backend")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    sidecar = Sidecar(settings(tmp_path, url, more=f'tls_ca = "{certificate}"' if trusted else ""))
    await sidecar.start()
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", int(sidecar.url.rpartition(":")[2])))
    writer.write(GET)
    said = await soon(reader.read())
    assert said.startswith(b"HTTP/1.1 " + status)
    assert trusted or b"backstay; error=tls_certificate_error" in said
    writer.close()
    server.close()
    await sidecar.stop(delay_s=0.0)


@pytest.mark.parametrize("says", [b"", b"220 speaks first\r\n"], ids=["nothing", "something"])
async def test_a_backend_that_knows_no_tls_is_a_502(tmp_path: Path, says: bytes) -> None:
    """It hangs up before the handshake, whether it said something or not."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    sidecar = Sidecar(settings(tmp_path, f"https://localhost:{server.sockets[0].getsockname()[1]}"))
    await sidecar.start()
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", int(sidecar.url.rpartition(":")[2])))
    writer.write(GET)
    said = await soon(reader.read())
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"error=connection_refused" in said or b"error=tls_protocol_error" in said
    writer.close()
    server.close()
    await sidecar.stop(delay_s=0.0)


def mutual(*trusted: Path) -> ssl.SSLContext:
    """Return a listener's context that asks its clients for a certificate, and lets those without one in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted[0])
    context.load_verify_locations(cadata="".join(file.read_text() for file in trusted))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def name_the_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request on a connection with the name in its client's certificate."""
    certificate = writer.get_extra_info("ssl_object").getpeercert()
    name = certificate["subject"][0][0][1].encode() if certificate else b"nobody"
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(sidecar: Sidecar, path: str) -> bytes:
    """Return the body of one answer."""
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", int(sidecar.url.rpartition(":")[2])))
    writer.write(GET.replace(b"/x", path.encode()))
    said = await soon(reader.read())
    writer.close()
    return bytes(said.rpartition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("order", [("privileged", "plain"), ("plain", "privileged")])
async def test_two_upstreams_of_one_address_share_no_connection(tmp_path: Path, order: tuple[str, str]) -> None:
    """Each has its own certificate, or none. Before, both had that of the one that stood first.

    A reload that finds another certificate uses it at once, also where a connection was open already.
    """
    backend, client = issue(tmp_path, "backend", "backend.pem"), issue(tmp_path, "ada", "client.pem")
    later = issue(tmp_path, "bob", "later.pem")
    server = await asyncio.start_server(name_the_client, "127.0.0.1", 0, ssl=mutual(backend, client, later))
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    tables = {"plain": "", "privileged": f'tls_certificate = "{client}"\n'}
    more = "".join(f'[upstreams.{name}]\nurl = "{url}"\ntls_ca = "{backend}"\n{tables[name]}' for name in order)
    more += "".join(f'[[routes]]\noperation = "{n}"\nmatch = "GET /{n}"\nupstream = "{n}"\n' for n in order)
    read = settings(tmp_path, url, more=more)
    sidecar = Sidecar(read)
    await sidecar.start()
    for _ in range(2):
        assert [await ask(sidecar, f"/{name}") for name in ("plain", "privileged")] == [b"nobody", b"ada"]
    client.write_bytes(later.read_bytes())
    await sidecar.reload(lambda: read)
    assert await ask(sidecar, "/privileged") == b"bob"
    await sidecar.stop(delay_s=0.0)
    server.close()
