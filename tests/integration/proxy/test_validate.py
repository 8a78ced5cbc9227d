"""Every kind of spec renders to a configuration that the real Envoy takes without a complaint."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from broker_operator.api import parse
from broker_operator.reconcile.certificates import issued, utc_now
from broker_operator.render import envoy
from tests.support.clusters import authenticated, each, exact, limited, manifest, total
from tests.support.envoy import mount, places, validate
from tests.support.tls import Authority, Pair
from tests.unit.operator.render.test_any_spec import specs

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
# Of RFC 7515, A.3.
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
JWT = {"issuer": "https://issuer.example", "audiences": ["broker"], "jwks": {"inline": json.dumps({"keys": [KEY]})}}
SPECS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "total": limited(total(1)),
    "total-per-hour": limited(total(10_000_000, "Hour", burst=100_000_000)),
    "each": limited(each(5, "Minute")),
    "exact": limited(exact("audit", 5, "Second")),
    "hostile-subjects": limited(
        exact("%REQ(:path)% ${x} {{y}} '\"\\", 1), exact("ü€😀", 2), exact("*", 3), exact(" ", 4)
    ),
    "everything": limited(total(100), each(5), exact("audit", 2, burst=9), scope="Proxy"),
    "as-many-as-allowed": limited(*(exact(f"subject-{index}", index + 1) for index in range(64))),
    "large-bodies": {**limited(each(5)), "limits": {"maxBodyBytes": "64Mi"}},
    "tiny-bodies": {"limits": {"maxBodyBytes": "1"}},
    "tls": {"proxy": {"tls": {"secretName": "orders-tls"}}},
    "client-certificates": {"proxy": {"tls": {"secretName": "orders-tls", "clientCASecretName": "orders-clients"}}},
    "api-keys": authenticated(apiKeys={"secretName": "keys"}),
    "tokens": authenticated(jwt=JWT),
    "tokens-with-fetched-keys": authenticated(jwt={**JWT, "jwks": {"uri": "https://issuer.example/keys"}}),
    "api-keys-and-tokens": authenticated(apiKeys={"secretName": "keys", "header": "x-key"}, jwt=JWT),
    "browsers": {"proxy": {"grpcWeb": {"allowOrigins": ["*"]}, "tls": {"secretName": "orders-tls"}}},
    "browsers-of-some-origins": {"proxy": {"grpcWeb": {"allowOrigins": ["https://*.example.com", "http://a:80"]}}},
    "browsers-of-no-other-origin": {"proxy": {"grpcWeb": {}}},
    **{file.stem: yaml.safe_load(file.read_text())["spec"] for file in sorted(SAMPLES.glob("*.yaml"))},
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Authority(tmp_path_factory.mktemp("authority"), "servers").issue("proxy")


@pytest.mark.parametrize("name", SPECS)
def test_envoy_takes_it(name: str, tmp_path: Path, certificate: Pair) -> None:
    mount(tmp_path / "server-tls", {"tls.crt": certificate.certificate, "tls.key": certificate.key})
    for trusted in ("client-ca", "system-ca"):
        mount(tmp_path / trusted, {"ca.crt": certificate.certificate})
    mount(tmp_path / "internal-tls", issued(["brokers"], utc_now()).data())
    config = envoy.whole(parse(manifest(SPECS[name])), places(tmp_path, (1, 2), proxies=2, internal_tls=True))
    assert validate(config, tmp_path) == ""


def test_envoy_takes_the_bootstrap_of_the_pods(tmp_path: Path) -> None:
    files = envoy.files(parse(manifest()), places(tmp_path), str(tmp_path))
    for name in files:
        (tmp_path / name).touch()
    assert validate(files[envoy.BOOTSTRAP], tmp_path) == ""


def test_the_check_notices_what_envoy_does_not_take(tmp_path: Path) -> None:
    config = envoy.whole(parse(manifest()), places(tmp_path))
    config["static_resources"]["listeners"][0]["nonsense"] = True
    assert "nonsense" in validate(config, tmp_path)


@settings(
    max_examples=20, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(specs)
def test_envoy_takes_any_valid_spec(tmp_path: Path, certificate: Pair, spec: dict[str, Any]) -> None:
    mount(tmp_path / "server-tls", {"tls.crt": certificate.certificate, "tls.key": certificate.key})
    mount(tmp_path / "client-ca", {"ca.crt": certificate.certificate})
    assert validate(envoy.whole(parse(manifest(spec)), places(tmp_path, (1, 2), proxies=2)), tmp_path) == ""
