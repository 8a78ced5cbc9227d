"""What the operator learns of the configuration that a real Envoy runs."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from broker_operator.api import CONFIG_VERSION_ANNOTATION, parse
from broker_operator.inquiry import Inquiry
from broker_operator.kube import Kube
from broker_operator.reconcile.proxies import Proxies
from broker_operator.status import Observed, ProxyConfig
from tests.support.clusters import each, limited, manifest
from tests.support.envoy import Proxy, manager, running_envoy

Files = dict[str, Any]


class Logs:
    """In the place of the API server: the log of the one pod, as far as Envoy has written it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.read = 0

    async def log(self, *_: str, **__: int) -> str:
        self.read += 1
        return self._file.read_text()


class Operator:
    """Looks at one proxy as often as it is asked to."""

    def __init__(self, proxy: Proxy, logs: Logs) -> None:
        self._proxy = proxy
        self._proxies = Proxies()
        self.logs = logs

    async def look(self, files: Files, restarts: int = 0) -> ProxyConfig:
        host, _, port = self._proxy.stats_address.rpartition(":")
        async with Inquiry(int(port)) as inquiry:
            seen = observed(version(files), host, restarts)
            configs = await self._proxies.look(cast("Kube", self.logs), inquiry, seen)
        (config,) = configs.proxies
        return config

    async def until(self, files: Files, right: Callable[[ProxyConfig], bool]) -> ProxyConfig:
        async with asyncio.timeout(20):
            while not right(found := await self.look(files)):
                await asyncio.sleep(0.05)
        return found


def observed(wanted: str, host: str, restarts: int) -> Observed:
    labels = {"app.kubernetes.io/component": "proxy"}
    annotated = {"kind": "ConfigMap", "metadata": {"name": "c", "annotations": {CONFIG_VERSION_ANNOTATION: wanted}}}
    pod = {
        "metadata": {"name": "orders-proxy-1", "namespace": "shop", "uid": "1", "labels": labels},
        "status": {"phase": "Running", "podIP": host, "containerStatuses": [{"restartCount": restarts}]},
    }
    return Observed(cluster=parse(manifest()), now=datetime.now(UTC), objects=(annotated,), pods=(pod,))


def version(files: Files) -> str:
    return str(files["cds.json"]["version_info"])


def followed(proxy: Proxy) -> Files:
    return {file.name: json.loads(file.read_text()) for file in proxy.directory.glob("*.json")}


def broken(files: Files, number: int, change: Callable[[Files], None]) -> Files:
    """Files of a version of their own that Envoy does not take."""
    made = copy.deepcopy(files)
    change(made)
    for name, file in made.items():
        if "version_info" in file:
            made[name]["version_info"] = f"broken-{number}"
    return made


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    with (tmp_path / "log").open("wb") as log:
        async with running_envoy(limited(each(1)), [1], log=log) as running:
            yield running


@pytest.fixture
def operator(proxy: Proxy, tmp_path: Path) -> Operator:
    return Operator(proxy, Logs(tmp_path / "log"))


async def test_a_change_is_on_its_way_until_envoy_has_it(proxy: Proxy, operator: Operator) -> None:
    old = followed(proxy)
    assert await operator.look(old) == ProxyConfig("orders-proxy-1", version(old))
    proxy.change(limited(each(2)))
    new = followed(proxy)
    assert version(new) != version(old)
    await operator.until(new, lambda found: found.version == version(new))
    assert (await operator.look(old)).version == version(new), "one that is not wanted"
    assert operator.logs.read == 0


def unknown_field(files: Files) -> None:
    files["rds.json"]["resources"][0]["virtual_hosts"][0]["nonsense"] = 1


def unknown_enum(files: Files) -> None:
    files["cds.json"]["resources"][0]["lb_policy"] = "NOPE"


def no_domain(files: Files) -> None:
    files["rds.json"]["resources"][0]["virtual_hosts"][0]["domains"] = []


def router_first(files: Files) -> None:
    filters = manager(files)["http_filters"]
    filters.insert(0, filters.pop())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_field, "no such field: 'nonsense'"),
        (unknown_enum, "unknown enum value: 'NOPE'"),
        (no_domain, "VirtualHostValidationError.Domains: value must contain at least 1 item(s)"),
        (router_first, "must be the last filter in a http filter chain"),
    ],
    ids=["unknown field", "unknown enum", "constraint", "listener"],
)
async def test_a_refusal_is_told_in_envoy_s_words_and_the_old_one_goes_on(
    proxy: Proxy, operator: Operator, change: Callable[[Files], None], words: str
) -> None:
    good = followed(proxy)
    await operator.look(good)
    bad = broken(good, 1, change)
    assert not (await operator.look(bad)).refused, "it is on its way"
    proxy.write(bad)
    found = await operator.until(bad, lambda found: found.refused)
    assert found.version == version(good)
    assert words in " ".join(found.error.split())
    assert await operator.look(bad) == found
    assert operator.logs.read == 1, "the same refusal is not read again"
    proxy.write(good)
    await operator.until(good, lambda found: found == ProxyConfig("orders-proxy-1", version(good)))


async def test_a_refusal_of_before_is_not_one_of_the_next_version(proxy: Proxy, operator: Operator) -> None:
    good = followed(proxy)
    await operator.look(good)
    bad, worse = broken(good, 1, no_domain), broken(good, 2, unknown_field)
    proxy.write(bad)
    await operator.until(bad, lambda found: found.refused)
    assert not (await operator.look(worse)).refused, "it is on its way"
    proxy.write(worse)
    found = await operator.until(worse, lambda found: found.refused)
    assert "no such field: 'nonsense'" in found.error


async def test_an_operator_that_has_just_started_sees_a_refusal_too(proxy: Proxy, operator: Operator) -> None:
    bad = broken(followed(proxy), 1, no_domain)
    proxy.write(bad)
    await proxy.until_stat("http.ingress.rds.broker.update_rejected", 1)
    assert (await operator.look(bad)).refused
