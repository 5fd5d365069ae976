"""Both versions of Helm, for every test that renders the chart."""

import pytest

from tests.deploy.tools import Helm, kubernetes_tool


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> Helm:
    """Give each Helm in turn."""
    kubernetes_tool("helm", request.param)
    return Helm(request.param)
