"""Rules over several fields of `spec.proxy`: what they let through, and what only the parser can see."""

import json
from typing import Any

import pytest

from broker_operator.api import Proxy, SpecError, parse
from tests.support.clusters import KEY_SET, access, each, exact, limited, manifest, total

INLINE = "spec.proxy.authentication.jwt.jwks.inline"
KEY = KEY_SET["keys"][0]
ENCRYPTS = {"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"}


def proxy_of(spec: dict[str, Any]) -> Proxy:
    return parse(manifest(spec)).spec.proxy


def problems(spec: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as error:
        parse(manifest(spec))
    return [str(problem) for problem in error.value.problems]


def with_key_set(text: str) -> dict[str, Any]:
    return {"proxy": {"authentication": {"jwt": {"issuer": "https://a.example/", "jwks": {"inline": text}}}}}


def test_several_rules_may_limit_the_same() -> None:
    rules = (total(9), total(5, "Second"), each(3), each(2, "Second"), exact("a", 1), exact("a", 2, "Minute"))
    assert len(proxy_of(limited(*rules)).rate_limit.rules) == len(rules)


@pytest.mark.parametrize("source", ["Certificate", "Token", "APIKey"])
def test_clients_may_be_told_by_what_they_must_prove(source: str) -> None:
    limits = limited({**total(1), "client": {"type": "Distinct", "from": source}})["proxy"]["rateLimit"]
    proxy = proxy_of(access({"from": source, "value": "billing"}, rateLimit=limits))
    assert [rule.client and str(rule.client.from_) for rule in proxy.rate_limit.rules] == [source]
    assert [str(identity.from_) for rule in proxy.authorization.rules for identity in rule.clients] == [source]


@pytest.mark.parametrize("value", ["10.1.2.3", "2001:db8::1"])
def test_an_address_is_taken_as_the_proxies_write_it(value: str) -> None:
    client = {"type": "Exact", "from": "Address", "value": value}
    rules = proxy_of(limited({**total(1), "client": client})).rate_limit.rules
    assert [rule.client and rule.client.value for rule in rules] == [value]


@pytest.mark.parametrize("value", ["2001:DB8::1", "2001:db8:0::1", "10.1.2.300", "10.1.2.0/24", "-", "10.1"])
def test_an_address_that_no_client_can_have_is_refused(value: str) -> None:
    client = {"type": "Exact", "from": "Address", "value": value}
    [line] = problems(limited({**total(1), "client": client}))
    assert line.startswith("spec.proxy.rateLimit.rules[0].client.value: must be an IP address")


def test_every_clash_of_headers_names_the_first() -> None:
    rules = [{**total(1), "client": {"type": "Distinct", "from": "Header", "header": name}} for name in "abac"]
    assert [line.split(": ")[0] for line in problems(limited(*rules))] == [
        "spec.proxy.rateLimit.rules[1].client.header",
        "spec.proxy.rateLimit.rules[3].client.header",
    ]
    assert problems(limited(*rules))[0].endswith("rules[0] names a")


def test_anyone_may_stand_next_to_others() -> None:
    assert proxy_of(access({"from": "Anyone"}, {"from": "Token"})).authorization.rules[0].clients[1].value is None


@pytest.mark.parametrize(
    "keys",
    [
        [KEY],
        [{**KEY, "alg": "ES256", "use": "sig"}, ENCRYPTS],
        [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "PS256"}],
        [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "alg": "EdDSA"}],
    ],
)
def test_a_key_set_is_read(keys: list[dict[str, Any]]) -> None:
    assert proxy_of(with_key_set(json.dumps({"keys": keys}))).authentication.jwt is not None


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("{keys", "", "is not JSON"),
        ("[" * 60_000, "", "is not JSON"),
        ("[]", "", 'an object with a list "keys"'),
        ('{"keys": {}}', "", 'an object with a list "keys"'),
        ('{"keys": []}', "", "must have a key for signatures"),
        (json.dumps({"keys": [ENCRYPTS]}), "", "must have a key for signatures"),
        ('{"keys": [5]}', ".keys[0]", "must be an object"),
        ('{"keys": [{"kty": ["EC"]}]}', ".keys[0]", "kty must be one of RSA, EC, OKP"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', ".keys[0]", "kty must be one of RSA, EC, OKP"),
        ('{"keys": [{"kty": "RSA", "n": "AQAB"}]}', ".keys[0]", "e is required for kty RSA"),
        (json.dumps({"keys": [KEY, {**KEY, "d": "AQAB"}]}), ".keys[1]", "is a private key"),
        (json.dumps({"keys": [KEY, {**ENCRYPTS, "d": "AQAB"}]}), ".keys[1]", "is a private key"),
        (json.dumps({"keys": [{**KEY, "y": 5}]}), ".keys[0]", "y is required for kty EC"),
        (json.dumps({"keys": [{**KEY, "y": "a+b="}]}), ".keys[0]", "in base64url"),
        (json.dumps({"keys": [{**KEY, "crv": ["P-256"]}]}), ".keys[0]", "crv must be one of P-256"),
        (json.dumps({"keys": [{**KEY, "alg": "RS256"}]}), ".keys[0]", "alg must begin with ES"),
    ],
)
def test_what_is_no_key_set_is_refused(text: str, at: str, message: str) -> None:
    [line] = problems(with_key_set(text))
    assert line.startswith(f"{INLINE}{at}: ")
    assert message in line
