"""An answer that comes before the upload's end reaches its client, every time, and is no failure of the backend."""

from pathlib import Path

import pytest

from tests.e2e.early_answers import SIZES, backend, outcomes, refusing, undelimited
from tests.e2e.sidecar import sidecar

COUNT = 10
CASES = {
    "413": (refusing(), False, "64KiB"),
    "401": (refusing(401), False, "64KiB"),
    "expecting": (refusing(), True, "64KiB"),
    "without_a_length": (undelimited, False, "64KiB"),
    "kept_whole": (refusing(), False, "32MiB"),  # the body is here before the backend is asked
}


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
