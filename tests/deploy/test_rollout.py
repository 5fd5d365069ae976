"""A rollout loses no request: ten rollouts under load, with the rendered pod in a kubelet's order."""

import asyncio
import json
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.deploy.generate import CHART
from tests.deploy.pod import Pod
from tests.deploy.rollout import Deployment, Traffic
from tests.deploy.test_chart import config_of, one, pod_of
from tests.deploy.tools import Document, Helm, documents, kubernetes_tool, system_tool
from tests.deploy.value_sets import Values
from tests.ports import reserved_port

ROLLOUTS = 10
GRACE_S = 18  # of which a sixth, the drain delay, has to be longer than endpoint lists are late, on a busy machine too
CLIENTS = 4
Pods = Callable[[Values], Pod]


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Pods]:
    """Give a maker of pods, with a short grace period; clear them away."""
    kubernetes_tool("helm", 4)
    made: list[Pod] = []

    def make(values: Values) -> Pod:
        made.append(Pod(*_rendered(json.dumps(values)), tmp_path / f"pod{len(made)}"))
        return made[-1]

    yield make
    for pod in made:
        await pod.kill()


@cache
def _rendered(values: str) -> tuple[Document, str]:
    complete = {"backend": {"image": "b"}, "terminationGracePeriodSeconds": GRACE_S, **json.loads(values)}
    rendered = Helm(4).render(CHART, complete, "1.33.0")
    return pod_of(rendered), config_of(rendered)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("native", [True, False], ids=["native", "ordinary"])
async def test_ten_rollouts_lose_no_request(pods: Pods, native: bool) -> None:
    """Every request that any client sends is answered 200, every container ends by itself and in time."""
    traffic = Traffic()
    deployment = Deployment(lambda: pods({"sidecar": {"native": native}}), traffic)
    await deployment.scale(2)
    await traffic.run(CLIENTS, lambda: deployment.roll(ROLLOUTS))
    assert traffic.failed == {}
    assert len(traffic.answered) >= ROLLOUTS  # each new pod served somebody before the next one came
    assert len(deployment.statuses) == ROLLOUTS
    assert {status["backstay"] for status in deployment.statuses} == {0}


async def test_without_the_hooks_requests_are_lost(pods: Pods) -> None:
    """The proof that the play can lose: the same rollouts, with a backend that does not wait."""

    def hasty() -> Pod:
        pod = pods({})
        pod.backend = deepcopy(pod.backend)
        pod.backend["lifecycle"]["preStop"] = {"sleep": {"seconds": 0}}
        return pod

    traffic = Traffic()
    deployment = Deployment(hasty, traffic)
    await deployment.scale(2)
    await traffic.run(CLIENTS, lambda: deployment.roll(2))
    assert traffic.failed


async def test_probes_mean_what_they_say(pods: Pods) -> None:
    """Draining: alive, not ready. A dead backend: still both."""
    pod = pods({})
    await pod.start()
    pod.backend_process.kill()
    await pod.backend_process.wait()
    assert await pod.probed("readiness")
    assert await pod.probed("liveness")
    ending = asyncio.ensure_future(pod.end())
    while await pod.probed("readiness"):
        assert not ending.done()
    assert await pod.probed("liveness")
    await ending


async def test_prometheus_reads_what_the_monitor_names(pods: Pods, tmp_path: Path) -> None:
    """With the PodMonitor's path and the chart's rules, the real Prometheus has the sidecar's series."""
    program, checker = system_tool("prometheus"), system_tool("promtool")
    values: Values = {"backend": {"image": "b"}, "monitoring": {"scrape": "podMonitor", "rules": True}}
    rendered = documents(Helm(4).run("template", "shop", str(CHART), values=values).stdout)
    (endpoint,) = one(rendered, "PodMonitor")["spec"]["podMetricsEndpoints"]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": one(rendered, "PrometheusRule")["spec"]["groups"]}))
    pod = pods({})
    await pod.start()
    assert endpoint["port"] in [port["name"] for port in pod.sidecar["ports"]]
    scrape = {
        "job_name": "backstay",
        "scrape_interval": "1s",
        "metrics_path": endpoint["path"],
        "static_configs": [{"targets": [f"127.0.0.1:{pod.admin_port}"]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "scrape_configs": [scrape]}))
    done = await create_subprocess_exec(checker, "check", "config", str(tmp_path / "prometheus.yml"), stdout=PIPE)
    assert await done.wait() == 0
    address = f"127.0.0.1:{reserved_port()}"
    options = (f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={address}", "--log.level=error")
    prometheus = await create_subprocess_exec(program, f"--config.file={tmp_path}/prometheus.yml", *options)
    try:
        assert await _queried(address, "count(backstay_build_info) and count(up == 1)") == "1"
    finally:
        prometheus.terminate()
        await prometheus.wait()


async def _queried(address: str, query: str) -> str:
    """Return the value of a query once it has one."""
    url = f"http://{address}/api/v1/query?query={query.replace(' ', '%20')}"
    for _ in range(1_000):
        try:
            found = json.loads(await asyncio.to_thread(lambda: urlopen(url, timeout=5).read()))["data"]["result"]
        except OSError:
            found = []
        if found:
            return str(found[0]["value"][1])
        await asyncio.sleep(0.2)  # noqa: TID251 - Prometheus scrapes by its own clock
    raise AssertionError("Prometheus never had it")
