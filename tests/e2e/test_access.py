"""Who comes in: by TLS and a client certificate, or by an API key; and that secrets change while all goes on."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.installed import Client, Cluster
from tests.e2e.kubectl import Kubectl, eventually
from tests.support.tls import Authority, Pair

KUBELET_SECONDS = 180.0
"""It may look at Secrets once a minute."""

EACH_CLIENT = {
    "name": "each-client",
    "subject": {"type": "Exact", "value": "busy"},
    "limit": {"requests": 3, "unit": "Hour"},
}


def put(kubectl: Kubectl, name: str, **data: bytes | str) -> None:
    """Make or change a Secret."""
    encoded = {
        file.replace("_", "."): base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()
        for file, content in data.items()
    }
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})


def secrets(authority: Authority, pair: Pair | None = None) -> str:
    """What a client trusts and shows."""
    shown = {"certificate": pair.certificate.decode(), "key": pair.key.decode()} if pair else {}
    return json.dumps({"ca": authority.certificate.decode(), **shown})


def rules(source: str) -> Mapping[str, Any]:
    return {"rules": [{**EACH_CLIENT, "client": {"type": "Distinct", "from": source}}]}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture(scope="module")
def servers(directory: Path) -> Authority:
    return Authority(directory, "servers")


@pytest.fixture(scope="module")
def clients(directory: Path) -> Authority:
    return Authority(directory, "clients")


@pytest.fixture(scope="module")
def secured(start: Start, place: Kubectl, servers: Authority, clients: Authority) -> Cluster:
    pair = servers.issue("secured")
    put(place, "secured-tls", tls_crt=pair.certificate, tls_key=pair.key)
    put(place, "secured-clients", ca_crt=clients.certificate)
    tls = {"secretName": "secured-tls", "clientCASecretName": "secured-clients"}
    return start("secured", {"storage": {"type": "Memory"}, "proxy": {"tls": tls, "rateLimit": rules("Certificate")}})


def test_only_who_shows_a_certificate_of_the_right_authority_comes_in(
    secured: Cluster, client: Client, servers: Authority, clients: Authority
) -> None:
    for refused in ("{}", secrets(servers), secrets(servers, servers.issue("stranger"))):
        hasty = json.dumps({**json.loads(refused), "timeout": 2})
        assert "OK" not in client.run("burst", secured.address, "any", "1", hasty)
    assert client.run("burst", secured.address, "any", "1", secrets(servers, clients.issue("alice"))) == {"OK": 1}


def test_each_certificate_has_a_limit_of_its_own(
    secured: Cluster, client: Client, servers: Authority, clients: Authority
) -> None:
    for name in ("bob", "carol"):
        shown = secrets(servers, clients.issue_to(name, f"URI:spiffe://shop/{name}"))
        assert client.run("burst", secured.address, "busy", "5", shown)["OK"] == 3


@pytest.fixture(scope="module")
def renewed(directory: Path) -> Authority:
    return Authority(directory, "renewed")


@pytest.fixture(scope="module")
def trusted(renewed: Authority, clients: Authority) -> str:
    """What a client has that the renewed certificate convinces."""
    return secrets(renewed, clients.issue("dave"))


def test_a_renewed_certificate_is_shown_and_no_stream_is_cut(
    secured: Cluster, client: Client, servers: Authority, clients: Authority, renewed: Authority, trusted: str
) -> None:
    mine = clients.issue("dave")
    before = [pod["metadata"]["uid"] for pod in secured.pods("proxy")]
    with client.running("load", secured.address, "rotation", secrets(servers, mine)) as load:
        load.expect("flowing")
        pair = renewed.issue("secured")
        put(secured.kubectl, "secured-tls", tls_crt=pair.certificate, tls_key=pair.key)
        eventually(
            lambda: client.run("burst", secured.address, "any", "1", trusted) == {"OK": 1},
            "the renewed certificate is shown",
            KUBELET_SECONDS,
        )
        load.stop()
        account = load.expect("account")
    assert (account["connections_lost"], account["failed"], account["missing"]) == (0, 0, [])
    assert [pod["metadata"]["uid"] for pod in secured.pods("proxy")] == before


@pytest.mark.parametrize(
    ("secret", "condition", "reason", "words"),
    [
        ("nonsense", "ProxyReady", "ConfigRejected", "certificate"),
        ("nobody-made-it", "Degraded", "SecretMissing", "Secret nobody-made-it does not exist"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named_and_the_proxies_that_serve_stay(
    secured: Cluster, client: Client, trusted: str, secret: str, condition: str, reason: str, words: str
) -> None:
    put(secured.kubectl, "nonsense", tls_crt="nonsense", tls_key="nonsense")
    before = {pod["metadata"]["uid"] for pod in secured.pods("proxy")}
    secured.patch({"proxy": {"tls": {"secretName": secret}}})
    eventually(lambda: secured.condition(condition).get("reason") == reason, f"{condition} is {reason}")
    assert words in secured.condition(condition)["message"]
    assert secured.condition("Degraded")["reason"] == reason
    assert before <= {pod["metadata"]["uid"] for pod in secured.pods("proxy")}
    assert client.run("burst", secured.address, "any", "1", trusted) == {"OK": 1}
    secured.patch({"proxy": {"tls": {"secretName": "secured-tls"}}})
    secured.settle()
    assert secured.condition("Degraded")["status"] == "False"


@pytest.fixture(scope="module")
def keyed(start: Start, place: Kubectl) -> Cluster:
    put(place, "keyed-keys", alice="key-of-alice", bob="key-of-bob")
    proxy = {"authentication": {"apiKeys": {"secretName": "keyed-keys"}}, "rateLimit": rules("APIKey")}
    return start("keyed", {"storage": {"type": "Memory"}, "proxy": proxy})


def with_key(key: str) -> str:
    return json.dumps({"api_key": key})


def test_api_keys_let_in_and_are_counted_apart(keyed: Cluster, client: Client) -> None:
    assert client.run("burst", keyed.address, "any", "1", with_key("guessed")).keys() == {
        "UNAUTHENTICATED UNAUTHENTICATED"
    }
    for name in ("alice", "bob"):
        assert client.run("burst", keyed.address, "busy", "5", with_key(f"key-of-{name}"))["OK"] == 3


def test_a_changed_key_reaches_running_proxies(keyed: Cluster, client: Client) -> None:
    before = [pod["metadata"]["uid"] for pod in keyed.pods("proxy")]
    put(keyed.kubectl, "keyed-keys", alice="another-key", bob="key-of-bob")
    eventually(
        lambda: "OK" in client.run("burst", keyed.address, "any", "1", with_key("another-key")),
        "the new key lets in",
        KUBELET_SECONDS,
    )
    assert "OK" not in client.run("burst", keyed.address, "any", "1", with_key("key-of-alice"))
    assert [pod["metadata"]["uid"] for pod in keyed.pods("proxy")] == before


def test_rules_let_each_client_do_only_what_they_allow_and_restart_nothing(keyed: Cluster, client: Client) -> None:
    before = [pod["metadata"]["uid"] for part in ("broker", "proxy") for pod in keyed.pods(part)]
    bob = {"from": "APIKey", "value": "bob"}
    allowed = {"name": "bob", "clients": [bob], "subjects": [{"type": "Prefix", "value": "bobs-"}]}
    keyed.patch({"proxy": {"authorization": {"rules": [allowed]}}})

    def publishing(key: str, subject: str) -> set[str]:
        return set(client.run("burst", keyed.address, subject, "1", with_key(key)))

    denied = {"PERMISSION_DENIED NOT_AUTHORIZED"}
    eventually(lambda: publishing("another-key", "bobs-own") == denied, "the rules hold", KUBELET_SECONDS)
    assert publishing("key-of-bob", "bobs-own") == {"OK"}
    assert publishing("key-of-bob", "others") == denied
    assert [pod["metadata"]["uid"] for part in ("broker", "proxy") for pod in keyed.pods(part)] == before
