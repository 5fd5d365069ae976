"""`backstay schema` prints what docs/reference has."""

import pytest

from proxy.cli.json_schema import schema
from tests.reference.pages import FOLDER


@pytest.mark.parametrize("of", ["configuration", "audit-record"])
def test_it_prints_the_schema_of_the_reference(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema(of) == 0
    assert capsys.readouterr().out == (FOLDER / f"{of}.schema.json").read_text(encoding="utf-8")
