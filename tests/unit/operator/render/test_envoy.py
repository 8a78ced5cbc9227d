"""The rendered Envoy configuration: what a running Envoy would take too long to show."""

from pathlib import Path
from typing import Any

from broker_operator.api import parse
from broker_operator.render import envoy
from broker_operator.render.envoy.routes import routes
from tests.support.clusters import each, limited, manifest
from tests.support.envoy import manager, places

STREAMS = {"Subscribe", "SubscribeBatch", "PublishStream", "Watch", "ServerReflectionInfo"}


def routes_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = routes(parse(manifest(spec)))["virtual_hosts"][0]["routes"]
    return [route for route in found if "route" in route]


def test_streams_never_time_out_and_have_a_circuit_breaker_of_their_own() -> None:
    for route in routes_of({}):
        action, method = route["route"], route["match"]["path"].rsplit("/")[-1]
        if method in STREAMS:
            assert (action["timeout"], action["idle_timeout"], action["cluster"]) == ("0s", "0s", "broker-streams")
        else:
            assert (action["timeout"], action["cluster"]) == ("30s", "broker")


def test_a_publish_is_tried_again_only_when_no_broker_has_seen_it() -> None:
    for route in routes_of({}):
        triggers = set(route["route"]["retry_policy"]["retry_on"].split(","))
        safe = {"connect-failure", "refused-stream", "reset-before-request"}
        assert triggers == safe | ({"unavailable"} if route["match"]["path"].endswith(("/Fetch", "/Check")) else set())


def files(spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return envoy.files(parse(manifest(spec)), places(tmp_path), "/etc/envoy")


def test_limits_change_neither_what_is_read_once_nor_listeners_which_cut_streams(tmp_path: Path) -> None:
    plain, limits = files({}, tmp_path), files({**limited(each(1)), "limits": {"maxBodyBytes": "8Mi"}}, tmp_path)
    assert plain[envoy.BOOTSTRAP] == limits[envoy.BOOTSTRAP]
    assert plain["lds.json"]["resources"] == limits["lds.json"]["resources"]


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    spec = limited(each(3))
    whole = envoy.whole(parse(manifest(spec)), places(tmp_path))
    split = files(spec, tmp_path)
    static = whole.pop("static_resources")
    fixed = split[envoy.BOOTSTRAP].pop("static_resources")
    assert {**whole, "dynamic_resources": split[envoy.BOOTSTRAP]["dynamic_resources"]} == split[envoy.BOOTSTRAP]
    chain = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert chain.pop("route_config") == untyped(split["rds.json"])[0]
    assert manager(split).pop("rds")
    assert static["listeners"] == [*untyped(split["lds.json"]), *fixed["listeners"]]
    assert static["clusters"] == [*fixed["clusters"], *untyped(split["cds.json"])]


def untyped(file: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "@type"} for one in file["resources"]]


def test_the_version_changes_with_the_content_only(tmp_path: Path) -> None:
    def version(spec: dict[str, Any]) -> str:
        (found,) = {file["version_info"] for name, file in files(spec, tmp_path).items() if name != envoy.BOOTSTRAP}
        return str(found)

    assert version({}) == version({"broker": {"drainSeconds": 3}})
    assert version({}) != version(limited(each(1)))
    assert version(limited(each(1))) != version(limited(each(2)))
