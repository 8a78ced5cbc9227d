"""What stands beside the broker's own calls: health, reflection, metrics and probes."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind, http, metrics
from tests.support.wire import HOUR, Wire, message, wire

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
CALLS = {"Publish", "Subscribe", "Fetch", "PublishBatch", "PublishStream", "SubscribeBatch"}


def health(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


@pytest.mark.parametrize("service", ["", "broker.Broker"])
async def test_health_of_what_is_here(client: Wire, service: str) -> None:
    answer = HealthCheckResponse.FromString(await client.raw(CHECK, health(service)))
    assert answer.status == HealthCheckResponse.SERVING
    watch = client.channel.unary_stream(WATCH)(health(service))
    assert HealthCheckResponse.FromString(await watch.read()).status == HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("service", ["broker", "x" * 1_000_000, "ünknown"], ids=["other", "long", "not ASCII"])
async def test_health_of_what_is_not_here(client: Wire, service: str) -> None:
    assert (await client.failure(CHECK, health(service))).code is grpc.StatusCode.NOT_FOUND
    watch = client.channel.unary_stream(WATCH)(health(service))
    assert HealthCheckResponse.FromString(await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(client: Wire, version: str) -> None:
    call = client.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")()

    async def ask(**question: object) -> ServerReflectionResponse:
        request = ServerReflectionRequest(host="here", **question)
        await call.write(request.SerializeToString())
        answer = ServerReflectionResponse.FromString(await call.read())
        assert answer.original_request == request
        return answer

    services = {service.name for service in (await ask(list_services="")).list_services_response.service}
    assert {"broker.Broker", "grpc.health.v1.Health"} <= services
    for question in ({"file_containing_symbol": "broker.Broker"}, {"file_containing_symbol": "broker.Broker.Publish"}):
        response = (await ask(**question)).file_descriptor_response
        files = [FileDescriptorProto.FromString(data) for data in response.file_descriptor_proto]
        assert {method.name for method in files[0].service[0].method} == CALLS
        assert {file.name for file in files} >= {"google/protobuf/timestamp.proto"}
        by_name = (await ask(file_by_filename=files[0].name)).file_descriptor_response
        assert by_name.file_descriptor_proto[0] == response.file_descriptor_proto[0]
    for name in ("broker.Nothing", "", "\0", "é", "x" * 100_000):
        for question in ({"file_containing_symbol": name}, {"file_by_filename": name}):
            assert (await ask(**question)).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    await call.write(b"\xff\xff")
    answer = ServerReflectionResponse.FromString(await call.read())
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_http_paths(broker: BrokerProcess) -> None:
    for path, expected in {"/livez": (200, "ok\n"), "/readyz": (200, "ok\n")}.items():
        assert await asyncio.to_thread(http, broker, path) == expected
    assert (await asyncio.to_thread(http, broker, "/"))[0] == 404
    assert (await asyncio.to_thread(http, broker, "/metrics/../etc"))[0] == 404


async def test_what_metrics_count(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--cache-bytes=16k") as broker:
        async with wire(broker.address) as client:
            started = await asyncio.to_thread(metrics, broker)
            received = sent = 0
            subscription = await client.subscribed(subject)

            requests = [message(subject, bytes(1000), expires).SerializeToString() for expires in (HOUR, 0, 5)]
            for request in requests:
                received += len(request)
                sent += len(await client.raw("Publish", request))
            frame = [message(subject, bytes(1000)), message("", b"")]
            answer = await client.publish_batch(frame)
            stream = client.publish_stream()
            await stream.send(*frame)
            streamed = await stream.receive()
            assert streamed is not None
            size = sum(len(m.SerializeToString()) + 3 for m in frame[:1]) + len(frame[1].SerializeToString()) + 2
            received += 2 * size
            sent += answer.ByteSize() + streamed.ByteSize()
            await stream.close()
            assert await stream.receive() is None
            got = await subscription.take(5)
            sent += sum(one.ByteSize() for one in got)
            for message_id in (1, 5):
                sent += (await client.fetch(subject, message_id)).ByteSize()
            await client.publish("filler", bytes(6500))
            # Now the first is no longer in the cache.
            assert (await client.fetch(subject, 1)).id == 1
            await client.failure("Fetch", b"\xff")

            found = await asyncio.to_thread(metrics, broker)
            assert "Traceback" not in broker.log
            expected = {
                f"broker_info{{door={kind.door},store={kind.store},version=0.1.0}}": 1,
                "broker_calls_total{code=OK,method=Publish}": 4,
                "broker_calls_total{code=OK,method=PublishBatch}": 1,
                "broker_calls_total{code=OK,method=PublishStream}": 1,
                "broker_calls_total{code=OK,method=Fetch}": 3,
                "broker_calls_total{code=INVALID_ARGUMENT,method=Fetch}": 1,
                "broker_call_duration_seconds_count{method=Publish}": 4,
                "broker_call_duration_seconds_count{method=PublishStream}": 1,
                "broker_messages_published_total{kind=stored}": 5,
                "broker_messages_published_total{kind=transient}": 1,
                "broker_messages_refused_total{reason=SUBJECT_INVALID}": 2,
                "broker_messages_delivered_total": 5,
                "broker_subscriptions": 1,
                "broker_subscriptions_lagging": 0,
                "broker_subscription_overflows_total": 0,
                "broker_messages_missed_total": 0,
                "broker_queue_messages": 0,
                "broker_queue_bytes": 0,
                "broker_flush_messages_sum": 6,
                "broker_flush_messages_count": 6,
                "broker_store_duration_seconds_count{operation=append}": 6,
            }
            assert {name: found.get(name) for name in expected} == expected
            assert found["broker_cache_hits_total"] + found["broker_cache_misses_total"] == 3
            assert found["broker_cache_misses_total"] >= 1
            assert 0 < found["broker_cache_bytes"] <= 16_000
            assert found["broker_store_bytes"] >= started["broker_store_bytes"]
            assert {
                "broker_store_limit_bytes",
                "broker_messages_expired_total",
                "process_resident_memory_bytes",
            } <= set(found)
            fetched = 3 * len(subject) + 3 * 4 + 1
            assert found["broker_received_bytes_total"] >= received + fetched
            assert found["broker_sent_bytes_total"] >= sent
            subscription.cancel()


async def test_received_bytes_are_counted_once_in_every_form(client: Wire, broker: BrokerProcess, subject: str) -> None:
    data = message(subject, bytes(500_000), 0)
    for form in ("Publish", "PublishBatch", "PublishStream"):
        before = (await asyncio.to_thread(metrics, broker))["broker_received_bytes_total"]
        match form:
            case "Publish":
                await client.raw("Publish", data.SerializeToString())
            case "PublishBatch":
                await client.publish_batch([data])
            case _:
                stream = client.publish_stream()
                await stream.send(data)
                await stream.receive()
                await stream.close()
        after = (await asyncio.to_thread(metrics, broker))["broker_received_bytes_total"]
        assert 500_000 < after - before < 501_000, form
