"""Which configuration proxies run, from what they tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker_operator.status import Observed, ProxyConfig, ProxyConfigs, Running, refusal, report
from tests.unit.operator.status.test_report import SERVING, conditions, observed, say

STAMP = "[2026-11-28 13:58:52.873][8][warning]"
SOURCE = "[source/extensions/config_subscription/filesystem/filesystem_subscription_impl.cc:81]"
REJECTED = f"{STAMP}[config] {SOURCE} Filesystem config update rejected:"


def told(**stats: Any) -> str:
    return json.dumps({"stats": [{"name": name.replace("__", "."), "value": value} for name, value in stats.items()]})


def test_a_proxy_runs_a_version_when_all_its_parts_are_of_it() -> None:
    running = Running.read(told(cds__version_text="new", lds__version_text="old", lds__update_rejected=2))
    assert running == Running({"cds": "new", "lds": "old"}, refusals=2)
    assert running.version("new") == "old"
    assert Running({"cds": "new", "lds": "new"}, refusals=0).version("new") == "new"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"stats": [1]}', told(lds__update_rejected="many")])
def test_nonsense_tells_nothing(text: str) -> None:
    assert Running.read(text) is None


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        ("nothing of interest\n", ""),
        (f"{REJECTED} no such field: 'x'\n{STAMP}[main] caught SIGTERM\n", "no such field: 'x'"),
        (f'{REJECTED} in /a.json, no JSON (unexpected): "{{key: secret}}"\n', "in /a.json, no JSON (unexpected)"),
        (f"{REJECTED} this is wrong: goo.gle/debugstr\nkey: secret\n}}\n", "this is wrong:"),
        (f"{REJECTED} the first\n{REJECTED} the last\n", "the last"),
        (
            f'{REJECTED} goo.gle/debugstr\nname: "b"\n{{"call": "x"}}\n}}\n: Proto constraint validation failed (x)\n',
            "Proto constraint validation failed (x)",
        ),
        (
            "    }\n: Proto constraint validation failed (Domains: none)\n",
            "Proto constraint validation failed (Domains: none)",
        ),
        (
            f"{STAMP}[config] {SOURCE} Filesystem config update failure: unable\x1b[31m to read file\n",
            "unable [31m to read file",
        ),
    ],
)
def test_the_reason_is_what_envoy_logged_last(log: str, reason: str) -> None:
    assert refusal(log) == reason


def test_a_reason_is_bounded() -> None:
    assert len(refusal(f"{REJECTED} {'x' * 10_000}\n")) <= 601


def running(*proxies: ProxyConfig) -> Observed:
    return observed(*SERVING, proxy_configs=ProxyConfigs("new", proxies))


CURRENT = ProxyConfig("orders-proxy-1", "new")
BEHIND = ProxyConfig("orders-proxy-2", "old")
REFUSING = ProxyConfig("orders-proxy-2", "old", "no such field: 'x'", refused=True)
SILENT = ProxyConfig("orders-proxy-2", error="it does not tell")


def test_a_configuration_on_its_way_is_progress_and_ready_meanwhile() -> None:
    seen = running(CURRENT, BEHIND)
    assert say(seen, "Progressing") == ("True", "ConfigurationRollingOut")
    assert say(seen, "ProxyReady") == ("True", "ProxyReady")
    assert conditions(seen)["ProxyReady"]["message"] == "1/1 proxies are ready; 1 of 2 run configuration new"
    assert say(seen, "Degraded")[0] == "False"


def test_a_proxy_that_refuses_makes_proxies_not_ready_in_envoy_s_own_words() -> None:
    seen = running(CURRENT, REFUSING)
    message = "proxy orders-proxy-2 refuses configuration new and goes on with old: no such field: 'x'"
    for type_, status in (("ProxyReady", "False"), ("Ready", "False"), ("Degraded", "True")):
        assert say(seen, type_) == (status, "ConfigRejected")
        assert conditions(seen)[type_]["message"] == message
    assert say(seen, "Progressing")[0] == "False", "it does not pass by itself"


def test_a_proxy_that_does_not_tell_holds_nothing_up() -> None:
    seen = running(CURRENT, SILENT)
    assert say(seen, "Progressing")[0] == "False"
    assert say(seen, "Ready")[0] == "True"
    assert "1 of 2 run configuration new" in conditions(seen)["ProxyReady"]["message"]


def test_the_status_says_what_each_proxy_runs() -> None:
    assert report({}, running(CURRENT, REFUSING, SILENT))["proxyConfig"] == {
        "version": "new",
        "proxies": [
            {"pod": "orders-proxy-1", "version": "new"},
            {"pod": "orders-proxy-2", "version": "old", "error": "no such field: 'x'"},
            {"pod": "orders-proxy-2", "error": "it does not tell"},
        ],
    }
    assert "proxyConfig" not in report({}, observed(*SERVING))
