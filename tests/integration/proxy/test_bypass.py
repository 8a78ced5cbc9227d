"""Ways around a rate limit: none lets more through than the limit and its burst, as a real broker has it published.

Limits are per hour, so that nothing refills; how much came through is what the broker counts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.api import broker_pb2 as pb
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS, metric
from tests.support.clusters import each, exact, limited, total
from tests.support.envoy import Caller, Proxy, batch, caller, running_envoy

LIMIT = 20


@dataclass
class Ground:
    """A broker behind one or two proxies."""

    broker: BrokerProcess
    proxies: list[Proxy]
    clients: list[Caller]

    @property
    def client(self) -> Caller:
        return self.clients[0]

    async def published(self) -> int:
        """How many messages came through, on whatever subject."""
        return int(await metric(self.broker, "broker_messages_published_total{kind=transient}"))


@asynccontextmanager
async def ground(spec: dict[str, Any], proxies: int = 1, door: str = DOORS[-1]) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        options = ("--store=memory", f"--door={door}", "--trust-proxy=yes")
        broker = await stack.enter_async_context(BrokerProcess(*options))
        port = int(broker.address.rpartition(":")[2])
        running = [
            await stack.enter_async_context(running_envoy(spec, [port], proxies=proxies)) for _ in range(proxies)
        ]
        clients = [await stack.enter_async_context(caller(proxy.address)) for proxy in running]
        yield Ground(broker, running, clients)


async def tried(*calls: Awaitable[object]) -> list[str]:
    """What became of calls, by status; none may fail for another reason than that it was refused."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    names = []
    for result in results:
        if isinstance(result, BaseException):
            assert isinstance(result, grpc.aio.AioRpcError), result
            names.append(result.code().name)
        else:
            names.append("OK")
    return names


async def stream(client: Caller, *frames: list[str], **options: Any) -> None:
    call = client.publish_stream(**options)
    for frame in frames:
        await call.write(batch(*frame))
        await call.read()
    await call.done_writing()
    await call.code()


HOT = limited(exact("hot", LIMIT))

WAYS: dict[str, Callable[[Caller], Awaitable[object]]] = {
    "one by one": lambda client: client.publish("hot"),
    "in a batch": lambda client: client.publish_batch("hot", "hot"),
    "behind others in a batch": lambda client: client.publish_batch("cheap", "hot", "other", "hot"),
    "in a stream": lambda client: stream(client, ["hot"]),
    "late in a stream": lambda client: stream(client, ["cheap"], [], ["other", "hot"], ["hot", "hot", "hot"]),
    "in a long frame": lambda client: stream(client, ["hot"] * 30),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("way", WAYS)
async def test_no_way_of_publishing_is_a_way_around(way: str, door: str) -> None:
    async with ground(HOT, door=door) as at:
        await tried(*(WAYS[way](at.client) for _ in range(40)))
        cheap = 40 * {"behind others in a batch": 2, "late in a stream": 2}.get(way, 0)
        assert await at.published() == LIMIT + cheap
        assert set(await tried(*(at.client.publish("hot") for _ in range(3)))) == {"RESOURCE_EXHAUSTED"}


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(WAYS)), min_size=30, max_size=60))
def test_nor_is_any_mixture_of_them(ways: list[str]) -> None:
    async def run() -> None:
        async with ground(limited(exact("hot", LIMIT), exact("cheap", 1), exact("other", 1)), 2) as at:
            await tried(*(WAYS[way](at.clients[turn % 2]) for turn, way in enumerate(ways)))
            await tried(*(client.publish("hot") for client in at.clients for _ in range(LIMIT)))
            # A bucket too small for both proxies lets each let one through: those of the two other subjects.
            assert LIMIT * 0.9 <= await at.published() - await passed_of_others(at) <= LIMIT * 1.1

    asyncio.run(run())


async def passed_of_others(at: Ground) -> int:
    """How many messages of the other subjects were published: their next ids tell, where nobody limits."""
    async with caller(at.broker.address) as direct:
        return sum([await direct.publish(subject) - 1 for subject in ("cheap", "other")])


async def test_thousands_of_other_subjects_do_not_refill_a_spent_one() -> None:
    async with ground(limited(each(LIMIT), exact("hot", LIMIT))) as at:
        await tried(*(at.client.publish("hot") for _ in range(2 * LIMIT)))
        others = [f"other-{number}" for number in range(6000)]
        await stream(at.client, *(others[start : start + 500] for start in range(0, 6000, 500)))
        await tried(*(at.client.publish(f"more-{number}") for number in range(500)))
        assert set(await tried(*(WAYS[way](at.client) for way in ("one by one", "in a batch")))) == {
            "RESOURCE_EXHAUSTED"
        }
        assert await at.published() == LIMIT + 6500


async def test_other_connections_share_the_limit() -> None:
    async with ground(HOT) as at, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(caller(at.proxies[0].address)) for _ in range(20)]
        await tried(*(client.publish("hot") for client in clients for _ in range(3)))
        await tried(*(stream(client, ["hot"] * 3) for client in clients))
        assert await at.published() == LIMIT


@pytest.mark.parametrize("requests", [20, 200])
async def test_both_proxies_share_a_limit_of_scope_cluster(requests: int) -> None:
    async with ground(limited(exact("hot", requests)), 2) as at:
        for turn in range(requests):
            client = at.clients[turn % 2]
            await tried(client.publish("hot"), client.publish_batch("hot", "hot"))
        assert requests * 0.9 <= await at.published() <= requests * 1.1


IDENTITIES: list[list[tuple[str, str]]] = [
    [],
    [("x-tenant", "")],
    [("x-broker-client", "forged")],
    [("x-broker-client", "forged"), ("x-broker-address", "10.0.0.9"), ("x-forwarded-for", "10.0.0.9")],
    [("x-broker-token", "forged"), ("x-broker-certificate", "forged"), ("x-broker-api-key", "forged")],
    [("x-broker-cost", "0")],
    [("x-broker-cost", "-5"), ("x-broker-admitted", "1")],
    [("x-broker-quota", "127.0.0.1:1")],
    [("forwarded", "for=10.0.0.9"), ("x-real-ip", "10.0.0.9"), ("x-envoy-external-address", "10.0.0.9")],
]


@pytest.mark.parametrize("source", [{"from": "Header", "header": "x-tenant"}, {"from": "Address"}])
async def test_who_has_no_identity_or_forges_one_shares_a_limit(source: dict[str, str]) -> None:
    rule = {"client": {"type": "Distinct", **source}, **total(LIMIT)}
    async with ground(limited(rule)) as at:
        for metadata in IDENTITIES * 5:
            forged = tuple(metadata)
            await tried(at.client.publish("hot", metadata=forged), at.client.publish_batch("hot", metadata=forged))
            await stream(at.client, ["hot"], ["hot"], metadata=forged)
        assert await at.published() == LIMIT


PATHS = [
    "/broker.Broker/Publish?",
    "/broker.Broker/Publish?x=1",
    "/broker.Broker/Publish#x",
    "/broker.Broker/publish",
    "/Broker.broker/Publish",
    "/broker.Broker/Publis%68",
    "/broker%2EBroker/Publish",
    "//broker.Broker/Publish",
    "/broker.Broker//Publish",
    "/broker.Broker/Publish/",
    "/./broker.Broker/Publish",
    "/x/../broker.Broker/Publish",
    "/broker.Broker/Publish;x",
    "/broker.Broker/Publish ",
    "broker.Broker/Publish",
]


@pytest.mark.parametrize("path", PATHS)
async def test_other_spellings_of_a_path_lead_nowhere(path: str) -> None:
    rules = (exact("hot", LIMIT), {**each(LIMIT), "methods": ["Publish"]})
    async with ground(limited(*rules)) as at:
        request = pb.PublishRequest(subject="hot").SerializeToString()
        names = set(await tried(*(at.client.raw(path, request) for _ in range(3))))
        assert "OK" not in names, names
        assert await at.published() == 0


def field(tag: bytes, content: bytes) -> bytes:
    return tag + bytes([len(content)]) + content


SPELLINGS = {
    "plain": field(b"\x0a", b"hot"),
    "a tag longer than it need be": field(b"\x8a\x00", b"hot"),
    "a length longer than it need be": b"\x0a\x83\x00hot",
    "twice": field(b"\x0a", b"cheap") + field(b"\x0a", b"hot"),
    "behind fields that nobody knows": b"\xf8\x7f\x05" + field(b"\xf2\x7f", b"xyz") + field(b"\x0a", b"hot"),
    "behind a group": b"\xf3\x7f" + field(b"\x0a", b"cheap") + b"\xf4\x7f" + field(b"\x0a", b"hot"),
    "behind a number of its own tag": b"\x08\x05" + field(b"\x0a", b"hot"),
    "before what a proxy takes for it": field(b"\x0a", b"hot") + b"\x08\x23" + field(b"\x22", b"!" * 33),
    "before an empty body": field(b"\x0a", b"hot") + field(b"\x12", b""),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_other_spellings_of_a_message_are_no_way_around(spelling: str) -> None:
    async with ground(HOT) as at:
        calls = (at.client.raw("/broker.Broker/Publish", SPELLINGS[spelling]) for _ in range(2 * LIMIT))
        await tried(*calls)
        assert await at.published() <= LIMIT
        async with caller(at.broker.address) as direct:
            assert await direct.publish("hot") <= LIMIT + 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("subject", ["a\nx-broker-token: root", "\x00", "y" * 256, "z" * 1_000_000])
async def test_what_is_no_subject_gets_to_the_broker_which_says_so(subject: str, door: str) -> None:
    """And into no header."""
    async with ground({"proxy": {"balancing": "Subject", **limited(each(LIMIT))["proxy"]}}, door=door) as at:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await at.client.publish(subject)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "subject has" in (refused.value.details() or "")
        codes = await tried(*(at.client.publish(subject) for _ in range(LIMIT)))
        assert codes.count("INVALID_ARGUMENT") == LIMIT - 2, "they count too"
        assert await tried(at.client.publish("good")) == ["OK"]
