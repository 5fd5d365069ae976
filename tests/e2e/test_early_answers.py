"""A response before the upload's end reaches its client every time, and is no failure of the backend."""

import ssl
from pathlib import Path

import pytest

from tests.e2e.early_answers import SIZES, backend, outcomes, over_tls, refusing, undelimited
from tests.e2e.sidecar import sidecar
from tests.wire.test_tls import issue

COUNT = 10
CASES = {
    "413": (refusing(), False, "64KiB"),
    "401": (refusing(401), False, "64KiB"),
    "expecting": (refusing(), True, "64KiB"),
    "without_a_length": (undelimited, False, "64KiB"),
    "kept_whole": (refusing(), False, "32MiB"),  # the body is here before the backend is asked
}


async def test_an_early_answer_arrives_over_tls(tmp_path: Path) -> None:
    """What the loop leaves unread of a connection that is reset under a write is ciphertext here."""
    certificate = issue(tmp_path, "backend")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with backend(over_tls(context)) as url:
        secure = url.replace("http://127.0.0.1", "https://localhost")
        async with sidecar(tmp_path, secure, upstreams__sessions__tls_ca=str(certificate)) as child:
            found = await outcomes(child, COUNT)
            measured = await child.settled()
    assert found == {"413": COUNT * len(SIZES)}
    assert measured.total("backstay_circuit_transitions_total") == 0


@pytest.mark.parametrize("name", CASES)
async def test_an_early_answer_arrives_every_time(tmp_path: Path, name: str) -> None:
    """Small and large uploads, and the backend resets the connection under them: each client has its answer whole."""
    converse, expect, replay_limit = CASES[name]
    with backend(converse) as url:
        async with sidecar(tmp_path, url, defaults__replay_limit=replay_limit) as child:
            found = await outcomes(child, COUNT, expect=expect)
            measured = await child.settled()
    count, status = COUNT * len(SIZES), "401" if name == "401" else "413"
    assert found == {status: count}
    assert [record["status"] for record in child.records()] == [int(status)] * count
    assert measured.total("backstay_circuit_transitions_total") == 0
