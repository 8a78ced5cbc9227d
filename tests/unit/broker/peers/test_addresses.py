import pytest

from broker.peers import parse_peers
from broker.peers.addresses import Listed, Named
from broker.peers.sender import _host


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dns:///orders-broker-headless:50052", Named("orders-broker-headless", 50052)),
        ("dns:orders.example:1", Named("orders.example", 1)),
        ("10.0.0.1:50052", Listed(frozenset({"10.0.0.1:50052"}))),
        ("a:1, b:2,[::1]:3", Listed(frozenset({"a:1", "b:2", "[::1]:3"}))),
    ],
)
def test_what_names_peers(text, found):
    assert parse_peers(text) == found


@pytest.mark.parametrize(
    "text", ["a", "a:", ":1", "a:70000", "a:1,,b:2", "dns:///a", "dns:///a:1,b:2", "http://a:1", "a b:1"]
)
def test_what_does_not(text):
    with pytest.raises(ValueError, match="neither dns:///NAME:PORT nor HOST:PORT,HOST:PORT"):
        parse_peers(text)


async def test_a_name_has_addresses():
    assert "127.0.0.1:50052" in await Named("localhost", 50052).find()


@pytest.mark.parametrize(
    ("peer", "host"),
    [("ipv4:10.0.0.1:3456", "10.0.0.1"), ("ipv6:%5B::1%5D:3456", "::1"), ("ipv6:[fe80::1]:1", "fe80::1")],
)
def test_the_host_of_a_caller(peer, host):
    assert _host(peer) == host
