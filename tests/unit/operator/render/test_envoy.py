"""The rendered Envoy configuration: what a running Envoy would take too long to show."""

from pathlib import Path
from typing import Any

from broker_operator.api import parse
from broker_operator.render import envoy
from tests.support.clusters import each, limited, manifest
from tests.support.envoy import places

STREAMS = {"Subscribe", "SubscribeBatch", "PublishStream", "Watch", "ServerReflectionInfo"}


def routes_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = envoy.routes(parse(manifest(spec)))["virtual_hosts"][0]["routes"]
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


def test_only_routes_depend_on_the_spec_so_listeners_never_cut_streams(tmp_path: Path) -> None:
    made = [
        envoy.bootstrap(parse(manifest(spec)), places(tmp_path), routes_path="/etc/envoy/rds.yaml")
        for spec in ({}, {**limited(each(1)), "limits": {"maxBodyBytes": "8Mi"}})
    ]
    assert made[0] == made[1]


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    cluster = parse(manifest(limited(each(3))))
    whole = envoy.bootstrap(cluster, places(tmp_path))
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (resource,) = envoy.routes_file(cluster)["resources"]
    assert manager.pop("route_config") == {name: value for name, value in resource.items() if name != "@type"}
    split = envoy.bootstrap(cluster, places(tmp_path), routes_path="/etc/envoy/rds.yaml")
    assert split["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"].pop("rds")
    assert split == whole


def test_the_version_of_the_routes_changes_with_them_only() -> None:
    def version(spec: dict[str, Any]) -> str:
        return str(envoy.routes_file(parse(manifest(spec)))["version_info"])

    assert version({}) == version({"broker": {"drainSeconds": 3}})
    assert version({}) != version(limited(each(1)))
    assert version(limited(each(1))) != version(limited(each(2)))
