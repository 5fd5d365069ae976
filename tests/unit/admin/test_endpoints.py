"""The table of endpoints agrees with the application's routes."""

import json

import pytest
from aiohttp import ClientSession

from proxy.admin import endpoints
from proxy.admin.application import ACTIONS, HANDLERS
from proxy.admin.endpoints import ENDPOINTS, STATUS_PAGE, AdminEndpoint
from proxy.config.document import Document
from proxy.config.settings import Settings
from tests.unit.admin.sidecar import BEARER, Sidecar

FILLED = {"name": "sessions", "action": "reset", "position": "off", "subject": "val_123"}


def asked(endpoint: AdminEndpoint) -> str:
    """Return a target of an endpoint; what is not in its path goes into its query."""
    path = endpoint.place.format(**FILLED).replace("/switches/sessions", "/switches/retries")
    return f"{path}?subject=val_123" if endpoint.method == "DELETE" else path


def test_every_handler_and_every_action_is_in_the_table() -> None:
    """Nothing is answered that the reference does not show."""
    assert {endpoint.place for endpoint in ENDPOINTS} == set(HANDLERS)
    assert tuple(ACTIONS) == endpoints.ACTIONS


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.place}")
async def test_an_endpoint_answers_as_the_table_says(client: ClientSession, endpoint: AdminEndpoint) -> None:
    """With the token it gives its first status; without, it gives it to anyone or is 401."""
    first = next(iter(endpoint.answers))
    async with client.request(endpoint.method, asked(endpoint), headers=BEARER) as response:
        assert response.status == first
    async with client.request(endpoint.method, asked(endpoint)) as response:
        assert response.status == (401 if endpoint.guarded else first)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.place}")
def test_every_part_of_a_path_is_described(endpoint: AdminEndpoint) -> None:
    assert set(endpoint.parameters) >= {part[1:-1] for part in endpoint.place.split("/") if part.startswith("{")}


@pytest.mark.parametrize("endpoint", STATUS_PAGE, ids=lambda endpoint: endpoint.place)
async def test_the_status_page_is_for_anyone(client: ClientSession, endpoint: AdminEndpoint) -> None:
    async with client.get(endpoint.place) as response:
        assert response.status == 200


async def test_the_configuration_is_given_without_secrets(client: ClientSession, sidecar: Sidecar) -> None:
    """Each setting has its value, its origin and where it was written. A huge integer of a document is no error."""
    text = 'admin.token = "zz"\nupstreams.a.url = "http://a"\nroutes = [{ operation = "x", match = "GET /", '
    document = Document(f"{text}fallback = {{ body = [{10**30}] }} }}]", "c.toml")
    sidecar.settings = Settings.model_validate(document.data).written_in(document)
    async with client.get("/config", headers=BEARER) as response:
        assert response.status == 200
        settings = {each["key"]: each for each in json.loads(await response.text())["settings"]}
    assert settings["admin.token"] == {"key": "admin.token", "value": "***", "origin": "file", "where": "c.toml:1"}
    assert settings["routes[0].fallback.body"]["value"] == [10**30]
    assert settings["listen.idle_timeout"]["origin"] == "default"
