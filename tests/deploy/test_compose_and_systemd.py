"""The Compose file and the systemd unit: valid for their programs, and right about the sidecar that they start."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.config.units import parse_duration
from tests.unit.docs.pages import ROOT
from tests.unit.docs.shell import check_variable, parse

FASTAPI = ROOT / "examples" / "fastapi"
COMPOSE = FASTAPI / "compose.yaml"
UNIT = ROOT / "examples" / "systemd" / "backstay.service"
PAGE = ROOT / "docs" / "docker-compose-and-systemd.md"
BACKSTAY = "/opt/backstay/bin/backstay"
SECRET = "/run/secrets/"


@pytest.fixture(scope="module")
def compose() -> Any:
    """Return the Compose file's data."""
    return YAML(typ="safe", pure=True).load(COMPOSE)


@pytest.fixture
def settings(compose: Any, tmp_path: Path) -> Settings:
    """Return what the Compose file's sidecar runs with: its file and its environment, with the secret elsewhere."""
    (tmp_path / "backstay_token").write_text("t" * 32)
    given = compose["services"]["backstay"]["environment"]
    return load(FASTAPI / "backstay.toml", environ={n: v.replace(SECRET, f"{tmp_path}/") for n, v in given.items()})


@pytest.mark.parametrize("file", [COMPOSE, UNIT], ids=lambda path: path.name)
def test_the_page_shows_the_file_that_is_tested(file: Path) -> None:
    assert file.read_text(encoding="utf-8") in PAGE.read_text(encoding="utf-8")


def test_docker_compose_accepts_the_file() -> None:
    """It checks the file against its schema, and needs no daemon."""
    plugin = (
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False) if _has("docker") else None
    )
    if plugin is not None and plugin.returncode == 0:
        command = ["docker", "compose"]
    elif _has("docker-compose"):
        command = ["docker-compose"]
    else:
        pytest.skip("docker compose is missing (apt-get install docker-compose)")
    done = subprocess.run([*command, "-f", COMPOSE, "config", "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _has(program: str) -> bool:
    return shutil.which(program) is not None


def test_what_a_service_names_is_there(compose: Any) -> None:
    """Volumes and secrets are declared, bound files and build contexts are in the repository."""
    volumes = [volume.partition(":")[0] for one in compose["services"].values() for volume in one["volumes"]]
    assert {name for name in volumes if not name.startswith(".")} == compose["volumes"].keys()
    assert all((FASTAPI / name).is_file() for name in volumes if name.startswith("."))
    assert all((FASTAPI / one["build"] / "Dockerfile").is_file() for one in compose["services"].values())
    assert compose["services"]["backstay"]["secrets"] == list(compose["secrets"])


def test_the_sidecar_of_the_compose_file_starts_as_written(compose: Any, settings: Settings) -> None:
    """Its command is one, each variable is a setting, and its file is the one that is mounted."""
    service = compose["services"]["backstay"]
    parse(service["command"])
    for name, value in service["environment"].items():
        check_variable(name, value)
    assert f"./backstay.toml:{service['command'][-1]}:ro" in service["volumes"]
    assert settings.admin.token_file is not None
    assert service["environment"]["BACKSTAY_ADMIN__TOKEN_FILE"] == f"{SECRET}{service['secrets'][0]}"


def test_the_ports_of_the_compose_file_are_the_sidecars(compose: Any, settings: Settings) -> None:
    """The proxy is published, the control plane on the loopback only; the backend is reached by its name alone."""
    listen, admin = (str(table.address).rpartition(":")[2] for table in (settings.listen, settings.admin))
    assert compose["services"]["backstay"]["ports"] == [f"{listen}:{listen}", f"127.0.0.1:{admin}:{admin}"]
    (upstream,) = settings.upstreams.values()
    api = compose["services"]["api"]
    assert upstream.url == (f"http://api:{api['expose'][0]}",)
    assert "ports" not in api
    assert f'"--port", "{api["expose"][0]}"' in (FASTAPI / "Dockerfile").read_text(encoding="utf-8")


def test_the_compose_file_gives_the_sidecar_time_to_drain(compose: Any, settings: Settings) -> None:
    grace = parse_duration(compose["services"]["backstay"]["stop_grace_period"])
    assert grace > settings.listen.drain_delay + settings.listen.drain_timeout


@pytest.fixture(scope="module")
def unit() -> configparser.SectionProxy:
    """Return the unit's section about the service."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # systemd's keys have capitals
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """It warns of an unknown key or a bad value, and wants an executable where the unit names one."""
    if not _has("systemd-analyze"):
        pytest.skip("systemd-analyze is missing (apt-get install systemd)")
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text(encoding="utf-8").replace(BACKSTAY, sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


def test_the_unit_starts_the_sidecar_as_written(unit: configparser.SectionProxy) -> None:
    """Both commands are commands, of one file, and the variable is a setting."""
    before, start = (unit[key].split() for key in ("ExecStartPre", "ExecStart"))
    assert before[0] == start[0] == BACKSTAY
    parse(before[1:])
    parse(start[1:])
    assert before[-1] == start[-1]
    check_variable(*unit["Environment"].split("=", 1))
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_unit_lets_the_sidecar_write_its_trail_and_drain(unit: configparser.SectionProxy, tmp_path: Path) -> None:
    """With `ProtectSystem=strict` only the state directory can be written."""
    state = f"/var/lib/{unit['StateDirectory']}"
    assert unit["WorkingDirectory"] == state
    assert unit["Environment"].endswith(f"={state}/audit.jsonl")
    (tmp_path / "backstay.toml").write_text('[upstreams.a]\nurl = "http://127.0.0.1:8000"\n')
    listen = load(tmp_path / "backstay.toml", environ={}).listen
    assert int(unit["TimeoutStopSec"]) > listen.drain_delay + listen.drain_timeout
    assert int(unit["LimitNOFILE"]) > 2 * listen.max_connections
