"""A power cut keeps only what was synced. What a write made old does not come back, and used keys stay used.

The disk has had time to write back what was cached before; of what came later it has what was synced, and no more.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.raw import ask, request
from tests.e2e.sidecar import Child
from tests.e2e.store.durable import durable, folder_of, killed, written
from tests.e2e.store.keyed import keyed_backend
from tests.e2e.store.requests import ADA, LOAD, UPDATE, create

OTHER = request("GET", "/api/sessions/r-2", None, **ADA)
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="a file layer wants a C compiler")


class Layer:
    """The file layer, and what it remembers as synced."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = folder_of(tmp_path)
        self.shadow = tmp_path / "synced"
        self.shadow.mkdir()
        library = tmp_path / "synced_only.so"
        source = Path(__file__).with_name("synced_only.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.settings = {
            "LD_PRELOAD": str(library), "SYNCED_FOLDER": str(self.folder), "SYNCED_SHADOW": str(self.shadow),
        }  # fmt: skip

    def write_back(self) -> None:
        """Let the disk have everything, as after a while without a write."""
        shutil.copytree(self.folder, self.shadow, dirs_exist_ok=True)

    async def power_cut(self, child: Child) -> None:
        """End the process, and leave in the folder what was synced."""
        await killed(child)
        shutil.rmtree(self.folder)
        shutil.copytree(self.shadow, self.folder)


@needs_compiler
async def test_a_write_that_was_answered_is_synced(tmp_path: Path) -> None:
    """The copy from before it does not come back; one that was synced later does.

    The mark's removal need not be synced, so the write's own subject may be in doubt after the power cut.
    """
    layer = Layer(tmp_path)
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url, **layer.settings) as child:
            await ask(child.url, LOAD)
            await written(child)
            layer.write_back()
            wrote = await ask(child.url, UPDATE)
            await layer.power_cut(child)
        async with durable(tmp_path, backend.url, **layer.settings) as child:
            after = await ask(child.url, LOAD)
            await ask(child.url, OTHER)
            await written(child)
            await layer.power_cut(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        again = await ask(child.url, OTHER)
    assert (wrote.status, after.body) == (204, b'{"version": 1}')
    assert (again.status, again.body) == (200, b'{"version": 0}')


@needs_compiler
async def test_a_used_key_is_synced(tmp_path: Path) -> None:
    """Its response is replayed, and the backend hears of it once."""
    layer = Layer(tmp_path)
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url, **layer.settings) as child:
            layer.write_back()
            first = await ask(child.url, create("r-1"))
            await layer.power_cut(child)
        async with durable(tmp_path, backend.url) as child:
            again = await ask(child.url, create("r-1"))
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert backend.calls == 1
