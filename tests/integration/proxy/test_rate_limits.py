"""Rate limits, as a real Envoy enforces what the operator renders."""

import asyncio
from collections.abc import Awaitable

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support.backend import running_backend
from tests.support.clusters import each, exact, limited, total
from tests.support.envoy import Caller, caller, running_envoy


async def passed(*calls: Awaitable[object]) -> int:
    """How many calls were answered; the others must all have been limited."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    for error in refused:
        assert isinstance(error, grpc.aio.AioRpcError), error
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
    return len(results) - len(refused)


def publishes(client: Caller, subject: str, count: int) -> list[Awaitable[object]]:
    return [client.publish(subject) for _ in range(count)]


async def test_each_subject_has_its_own_limit() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(3)), [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 10)) == 3
            assert await passed(*publishes(client, "b", 2)) == 2
            assert await passed(*publishes(client, "ü" * 100, 10)) == 3


async def test_thousands_of_other_subjects_do_not_refill_a_spent_one() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(2)), [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "spent", 5)) == 2
            for start in range(0, 3000, 100):
                await passed(*(client.publish(f"other-{start + index}") for index in range(100)))
            assert await passed(*publishes(client, "spent", 5)) == 0


async def test_every_rule_counts_and_the_strictest_wins() -> None:
    async with running_backend() as backend:
        spec = limited(each(3), exact("audit", 5), exact("hot", 1), each(2, unit="Minute", burst=100))
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "audit", 10)) == 3
            assert await passed(*publishes(client, "hot", 10)) == 1
            assert await passed(*publishes(client, "other", 10)) == 3


async def test_two_rules_may_be_for_the_same() -> None:
    async with running_backend() as backend:
        spec = limited(exact("audit", 9), exact("audit", 4), total(20), total(7))
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "audit", 10)) == 4
            assert await passed(*publishes(client, "other", 10)) == 3


@pytest.mark.parametrize("subject", ["%REQ(:path)% ${x} {{y}} '\"\\", "ü€😀", "*", " ", "x" * 255])
async def test_a_subject_is_taken_literally(subject: str) -> None:
    async with running_backend() as backend:
        spec = limited(each(6), exact(subject, 3))
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, subject, 6)) == 3
            assert await passed(*publishes(client, "y", 7)) == 6


async def test_an_exact_rule_alone_limits_nothing_else() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(exact("audit", 1)), [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "audit", 4)) == 1
            assert await passed(*publishes(client, "other", 40)) == 40


async def test_the_total_is_shared_by_all_calls_and_subjects() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(total(6)), [backend.port]) as proxy, caller(proxy.address) as client:
            first = [client.publish("a"), client.publish("b"), client.fetch("c")]
            assert await passed(*first) == 3
            assert await passed(*publishes(client, "f", 5)) == 3


async def test_a_call_must_be_within_the_total_and_within_its_subject() -> None:
    async with running_backend() as backend:
        spec = limited(total(5), each(3))
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 3)) == 3
            assert await passed(*publishes(client, "b", 3)) == 2


async def test_burst_is_what_may_come_at_once() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(2, burst=7)), [backend.port]) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 20)) == 7


async def test_subscriptions_count_when_they_are_opened() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(2)), [backend.port]) as proxy, caller(proxy.address) as client:
            stream = client.subscribe("a")
            await stream.initial_metadata()
            assert await passed(*publishes(client, "a", 3)) == 1
            stream.cancel()


@pytest.mark.parametrize("request_bytes", [b"\xff\xff\xff", b""])
async def test_what_has_no_readable_subject_is_refused_where_subjects_are_limited(request_bytes: bytes) -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(3)), [backend.port]) as proxy, caller(proxy.address) as client:
            for method in ("Publish", "Fetch"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await client.raw(f"/broker.Broker/{method}", request_bytes)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert backend.calls == []
        async with running_envoy(limited(total(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            await client.raw("/broker.Broker/Fetch", request_bytes)
            with pytest.raises(grpc.aio.AioRpcError, match="local_rate_limited"):
                await client.raw("/broker.Broker/Fetch", request_bytes)


async def test_the_subject_that_counts_is_the_one_that_the_broker_reads() -> None:
    def twice(first: str, last: str) -> bytes:
        return (
            pb.PublishRequest(subject=first).SerializeToString() + pb.PublishRequest(subject=last).SerializeToString()
        )

    async with running_backend() as backend:
        async with running_envoy(limited(each(2)), [backend.port]) as proxy, caller(proxy.address) as client:
            calls = (client.raw("/broker.Broker/Publish", twice(f"cheap-{index}", "hot")) for index in range(6))
            assert await passed(*calls) == 2
            assert backend.subjects == ["hot", "hot"]


async def test_compression_is_no_way_around_a_limit() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(2)), [backend.port]) as proxy, caller(proxy.address) as client:
            with pytest.raises(grpc.aio.AioRpcError, match="Compressed") as refused:
                await client.publish("a", bytes(1000), compression=grpc.Compression.Gzip)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert backend.subjects == []


async def test_health_checks_are_never_limited() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(total(1), each(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            for _ in range(5):
                assert await client.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"


async def test_proxies_share_a_limit_of_scope_cluster() -> None:
    spec = limited(each(12), total(40))
    async with running_backend() as backend:
        async with running_envoy(spec, [backend.port], proxies=4) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 20)) == 3
            assert await passed(*(client.publish(f"s{i}") for i in range(20))) == 7


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_limit_smaller_than_the_number_of_proxies_still_lets_something_through(requests: int) -> None:
    spec = limited(each(requests))
    spec["proxy"]["replicas"] = 4
    async with running_backend() as backend:
        async with running_envoy(spec, [backend.port], proxies=4) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 20)) == 1


async def test_every_proxy_allows_the_whole_limit_of_scope_proxy() -> None:
    spec = limited(each(12), scope="Proxy")
    async with running_backend() as backend:
        async with running_envoy(spec, [backend.port], proxies=4) as proxy, caller(proxy.address) as client:
            assert await passed(*publishes(client, "a", 20)) == 12


async def test_a_limited_client_is_told_what_the_limit_is() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            await client.publish("a")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.publish("a")
            hints = {**dict(refused.value.initial_metadata()), **dict(refused.value.trailing_metadata())}
            assert hints["x-ratelimit-limit"].startswith("1")
            assert hints["x-ratelimit-remaining"] == "0"
            assert hints["grpc-retry-pushback-ms"] == "1000"
