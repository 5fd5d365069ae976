"""The generated files of the chart agree with the values and the settings."""

import json
import re
import tomllib
from pathlib import Path

from ruamel.yaml import YAML

from tests.deploy.generate import CHART, dumped, readme, rows, schema

RENEW = "renew it with: python -m tests.deploy.generate"


def test_the_readmes_table_is_the_values() -> None:
    """The table in the chart's README is generated from the comments of values.yaml."""
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme(), RENEW


def test_the_schema_is_the_settings() -> None:
    """The chart's schema knows every value, and under `config` every setting that the sidecar has."""
    assert json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")) == json.loads(dumped()), RENEW


def test_every_value_is_described() -> None:
    """A value without a comment cannot be in the table, so none is without."""
    described = {row.name for row in rows()}
    plain = {name for name, value in schema()["properties"].items() if not value.get("properties")}
    assert plain - described == {"global"}


def test_chart_and_image_have_the_versions_of_the_distribution() -> None:
    """One release, one number."""
    root = Path(__file__).parents[2]
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == version
    assert re.findall(r"^ARG VERSION=(.*)$", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE) == [
        version
    ]
