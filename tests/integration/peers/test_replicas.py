"""Real brokers on one real PostgreSQL: whichever a client reaches, it is the same broker."""

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from broker.api import peers_pb2
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric
from tests.support.replicas import Replicas, replicas
from tests.support.stores import database_of
from tests.support.wire import HOUR, Wire, message, wire


async def connected(cluster: Replicas) -> None:
    """Wait until each broker follows all others."""
    for broker in cluster.brokers:

        async def follows_all(broker: BrokerProcess = broker) -> bool:
            return await metric(broker, "broker_peers_connected") == len(cluster.brokers) - 1

        await eventually(follows_all, f"{broker.address} follows the others")


async def test_every_subscriber_gets_every_message_in_one_order_wherever_it_is_published() -> None:
    async with replicas(3) as cluster, AsyncExitStack() as stack:
        await connected(cluster)
        clients = [await stack.enter_async_context(wire(address)) for address in cluster.addresses]
        live = [await client.subscribed("orders", batch=number % 2 == 0) for number, client in enumerate(clients)]

        async def publish(client: Wire, name: int) -> list[int]:
            # Every third one is fire-and-forget: those reach all replicas too.
            return [
                await client.publish("orders", b"%d-%d" % (name, number), HOUR if number % 3 else 0)
                for number in range(60)
            ]

        ids = await asyncio.gather(*[publish(client, name) for name, client in enumerate(clients)])
        assert sorted(message_id for own in ids for message_id in own) == list(range(1, 181))
        assert all(own == sorted(own) for own in ids)
        got = [await subscription.until(180) for subscription in live]
        assert [[m.id for m in messages] for messages in got] == [list(range(1, 181))] * 3
        assert got[0] == got[1] == got[2]
        # And whoever comes later, or fetches, gets the same from any of them.
        stored = [m for m in got[0] if int(m.body.split(b"-")[1]) % 3]
        for client in clients:
            late = await client.subscribed("orders", batch=True, earliest=True)
            assert await late.until(stored[-1].id) == stored
            assert await client.fetch("orders", stored[7].id) == stored[7]
        for broker in cluster.brokers:
            assert await metric(broker, "broker_peer_commits_total{event=received}") > 0
            assert await metric(broker, "broker_peer_commits_total{event=dropped}") == 0
            assert await metric(broker, "broker_reorder_messages") == 0
            assert await metric(broker, "broker_delivery_lag_messages") == 0


async def test_only_what_is_subscribed_to_is_followed() -> None:
    async with replicas(2) as cluster, wire(cluster[0].address) as here, wire(cluster[1].address) as there:
        await connected(cluster)
        live = await here.subscribed("wanted")
        for number in range(5):
            await there.publish("wanted", b"%d" % number)
            await there.publish("unwanted", bytes(1000))
        assert await live.ids_until(5) == [1, 2, 3, 4, 5]
        assert await metric(cluster[1], "broker_peer_commits_total{event=sent}") == 5
        live.cancel()

        async def forgotten() -> bool:
            sent = await metric(cluster[1], "broker_peer_commits_total{event=sent}")
            await there.publish("wanted")
            return await metric(cluster[1], "broker_peer_commits_total{event=sent}") == sent

        await eventually(forgotten, "what nobody subscribes to any more is not sent")


async def test_without_any_connection_among_them_messages_come_from_the_store() -> None:
    async with (
        replicas(2, blocked=True) as cluster,
        wire(cluster[0].address) as here,
        wire(cluster[1].address) as there,
    ):
        live = [await here.subscribed("orders", batch=True), await there.subscribed("orders")]
        for number in range(30):
            await (here, there)[number % 2].publish("orders", b"%d" % number)
        for subscription in live:
            got = await subscription.until(30)
            assert [(m.id, m.body) for m in got] == [(n + 1, b"%d" % n) for n in range(30)]
        assert await metric(cluster[0], "broker_gap_messages_total") > 0
        assert await metric(cluster[0], "broker_peers_connected") == 0
        assert await metric(cluster[0], "broker_peers") == 1
        assert "its messages are read from the store meanwhile" in cluster[0].log


async def test_what_was_published_while_a_link_was_cut_arrives_and_the_link_comes_back() -> None:
    async with replicas(2) as cluster, wire(cluster[0].address) as here, wire(cluster[1].address) as there:
        await connected(cluster)
        live = await here.subscribed("orders")
        link = cluster.links[0, 1]
        for round_number in range(3):
            assert await there.publish("orders", b"linked") == 3 * round_number + 1
            link.refusing = True
            link.cut()
            await there.publish("orders", b"cut off")
            await there.publish("orders", b"cut off")
            assert await live.ids_until(3 * round_number + 3) == [3 * round_number + n for n in (1, 2, 3)]
            link.refusing = False
            await connected(cluster)


async def test_a_link_that_falls_silent_is_made_good_by_the_store() -> None:
    async with replicas(2) as cluster, wire(cluster[0].address) as here, wire(cluster[1].address) as there:
        await connected(cluster)
        live = await here.subscribed("orders")
        cluster.links[0, 1].silent = True
        for number in range(10):
            await there.publish("orders", b"%d" % number)
        assert await live.ids_until(10) == list(range(1, 11))
        assert await metric(cluster[0], "broker_gap_messages_total") == 10


async def test_a_subscription_from_now_on_gets_exactly_what_is_acknowledged_after_it() -> None:
    async with replicas(2) as cluster, wire(cluster[0].address) as here, wire(cluster[1].address) as there:
        await connected(cluster)
        for number in range(30):
            subject = f"subject-{number}"
            await there.publish(subject, b"before")
            live = await here.subscribed(subject, batch=True)
            assert await there.publish(subject, b"after", 0) == 2
            got = await live.next()
            assert (got.id, got.body, live.position) == (2, b"after", 1)


async def test_replicas_come_and_go_while_messages_flow() -> None:
    async with replicas(3) as cluster, AsyncExitStack() as stack:
        await connected(cluster)
        first, second = [await stack.enter_async_context(wire(address)) for address in cluster.addresses[:2]]
        live = await first.subscribed("orders", batch=True)
        third = cluster[2]
        for how in (third.kill, third.terminate):
            async with wire(third.address) as client:
                for _ in range(20):
                    await asyncio.gather(client.publish("orders"), second.publish("orders"))
            await asyncio.to_thread(how)
            await asyncio.to_thread(third.wait)
            for _ in range(20):
                await second.publish("orders")
            await asyncio.to_thread(third.start)
            await connected(cluster)
        last_id = await first.publish("orders")
        assert await live.ids_until(last_id) == list(range(1, last_id + 1))


async def test_a_publish_with_a_key_is_taken_once_by_all_replicas_together() -> None:
    async with replicas(2) as cluster, wire(cluster[0].address) as here, wire(cluster[1].address) as there:
        live = await here.subscribed("orders")
        for number in range(20):
            request = message("orders", b"%d" % number)
            request.message_key = b"key-%d" % number
            answers = await asyncio.gather(*[client.publish_batch([request]) for client in (here, there, here, there)])
            assert [list(answer.ids) for answer in answers] == [[number + 1]] * 4
            assert sorted(list(answer.duplicates) for answer in answers) == [[], [0], [0], [0]]
        assert await live.ids_until(20) == list(range(1, 21))


async def follow_as(address: str, **hello: object) -> grpc.aio.AioRpcError | peers_pb2.FollowResponse:
    """What another broker that says this of itself is answered."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            "/broker.peers.Peers/Follow",
            request_serializer=peers_pb2.FollowRequest.SerializeToString,
            response_deserializer=peers_pb2.FollowResponse.FromString,
        )()
        try:
            await call.write(peers_pb2.FollowRequest(hello=peers_pb2.Hello(**hello), number=1))
            answer = await call.read()
        except grpc.aio.AioRpcError as error:
            return error
        assert isinstance(answer, peers_pb2.FollowResponse)
        return answer


async def test_who_does_not_know_the_database_or_the_protocol_is_refused() -> None:
    async with replicas(1) as cluster:
        address = cluster[0].peers
        stranger = await follow_as(address, version=1, oldest_version=1, instance="x", store="another")
        assert isinstance(stranger, grpc.aio.AioRpcError)
        assert stranger.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "different databases" in (stranger.details() or "")
        newer = await follow_as(address, version=9, oldest_version=8, release="9.0", instance="x")
        assert isinstance(newer, grpc.aio.AioRpcError)
        assert "release 9.0 speaks versions 8 to 9" in (newer.details() or "")
        assert "update in smaller steps" in cluster[0].log


async def test_brokers_find_each_other_by_name_and_by_being_called(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`localhost` has one address, so each port is a broker of its own; the second one is known by its call only."""
    environment = {"BROKER_POSTGRES_DSN": await asyncio.to_thread(database_of, tmp_path_factory.mktemp("database"))}
    async with BrokerProcess("--store=postgres", "--peer-listen=127.0.0.1:0", environment=environment) as called:
        port = called.peers.rpartition(":")[2]
        options = ("--store=postgres", "--peer-listen=127.0.0.1:0", f"--peers=dns:///localhost:{port}")
        async with BrokerProcess(*options, environment=environment) as calling:
            for broker in (called, calling):

                async def follows(broker: BrokerProcess = broker) -> bool:
                    return await metric(broker, "broker_peers_connected") == 1

                await eventually(follows, "each follows the other")
            async with wire(called.address) as here, wire(calling.address) as there:
                live = [await here.subscribed("orders"), await there.subscribed("orders")]
                assert [await here.publish("orders", b"1", 0), await there.publish("orders", b"2", 0)] == [1, 2]
                assert [await subscription.ids_until(2) for subscription in live] == [[1, 2]] * 2
