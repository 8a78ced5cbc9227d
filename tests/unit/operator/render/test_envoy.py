"""The rendered Envoy configuration: what a running Envoy would take too long to show."""

import json
from pathlib import Path
from typing import Any

from broker_operator.api import parse
from broker_operator.render import envoy
from broker_operator.render.envoy.routes import routes
from tests.support.clusters import each, limited, manifest
from tests.support.envoy import places

STREAMS = {"Subscribe", "SubscribeBatch", "PublishStream", "Watch", "ServerReflectionInfo"}


def routes_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = routes(parse(manifest(spec)), places(Path("/run")))["virtual_hosts"][0]["routes"]
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
        safe = {"connect-failure", "refused-stream", "reset-before-request", "retriable-headers"}
        assert route["route"]["retry_policy"]["retriable_headers"] == [
            {"name": "x-broker-retry", "string_match": {"exact": "elsewhere"}}
        ]
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
    inlined = [put_together(listener, split) for listener in untyped(split["lds.json"])]
    assert static["listeners"] == [*inlined, *fixed["listeners"]]
    assert static["clusters"] == [*fixed["clusters"], *untyped(split["cds.json"])]


def put_together(part: Any, split: dict[str, Any]) -> Any:
    """What Envoy makes of a part that refers to other files."""
    if isinstance(part, list):
        return [put_together(one, split) for one in part]
    if not isinstance(part, dict):
        return part
    whole = {name: put_together(value, split) for name, value in part.items()}
    if whole.pop("rds", None):
        (whole["route_config"],) = untyped(split["rds.json"])
    if discovery := whole.pop("config_discovery", None):
        file = Path(discovery["config_source"]["path_config_source"]["path"]).name
        (whole["typed_config"],) = [one["typed_config"] for one in split[file]["resources"]]
        assert whole["typed_config"]["@type"] in discovery["type_urls"]
    return whole


def untyped(file: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "@type"} for one in file["resources"]]


def test_the_version_changes_with_the_content_only(tmp_path: Path) -> None:
    def version(spec: dict[str, Any]) -> str:
        (found,) = {file["version_info"] for name, file in files(spec, tmp_path).items() if name != envoy.BOOTSTRAP}
        return str(found)

    assert version({}) == version({"broker": {"drainSeconds": 3}})
    assert version({}) != version(limited(each(1)))
    assert version(limited(each(1))) != version(limited(each(2)))


def test_what_changes_often_of_access_is_not_in_the_listener(tmp_path: Path) -> None:
    def listener(audience: str, key: str, origin: str) -> Any:
        jwt = {"issuer": "https://issuer.example", "audiences": [audience], "jwks": {"inline": jwks(key)}}
        proxy = {"authentication": {"jwt": jwt}, "grpcWeb": {"allowOrigins": [origin]}}
        return files({"proxy": proxy}, tmp_path)["lds.json"]["resources"]

    assert listener("a", "AQAB", "https://a.example") == listener("b", "AQAC", "https://b.example")


def jwks(exponent: str) -> str:
    return json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": exponent}]})
