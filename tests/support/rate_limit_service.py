"""A small rate-limit service: envoy.service.ratelimit.v3 over gRPC, counting in windows that never end.

It does what envoyproxy/ratelimit does: a limit is found by the exact path of a descriptor's keys and values, or by keys
alone; what is refused is counted all the same. Its messages are those of the protocol as far as they are needed.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

OK, OVER_LIMIT = 1, 2
WINDOW_SECONDS = 60

Entries = tuple[tuple[str, str], ...]

_FIELD = descriptor_pb2.FieldDescriptorProto
_FIELDS: Mapping[str, list[tuple[str, int, Any, str, bool]]] = {
    # name, number, type, its message, whether it is repeated
    "Entry": [("key", 1, _FIELD.TYPE_STRING, "", False), ("value", 2, _FIELD.TYPE_STRING, "", False)],
    "Hits": [("value", 1, _FIELD.TYPE_UINT64, "", False)],
    "Descriptor": [
        ("entries", 1, _FIELD.TYPE_MESSAGE, "Entry", True),
        ("hits_addend", 3, _FIELD.TYPE_MESSAGE, "Hits", False),
    ],
    "Request": [
        ("domain", 1, _FIELD.TYPE_STRING, "", False),
        ("descriptors", 2, _FIELD.TYPE_MESSAGE, "Descriptor", True),
        ("hits_addend", 3, _FIELD.TYPE_UINT32, "", False),
    ],
    "Limit": [("requests_per_unit", 1, _FIELD.TYPE_UINT32, "", False), ("unit", 2, _FIELD.TYPE_INT32, "", False)],
    "Duration": [("seconds", 1, _FIELD.TYPE_INT64, "", False)],
    "Status": [
        ("code", 1, _FIELD.TYPE_INT32, "", False),
        ("current_limit", 2, _FIELD.TYPE_MESSAGE, "Limit", False),
        ("limit_remaining", 3, _FIELD.TYPE_UINT32, "", False),
        ("duration_until_reset", 4, _FIELD.TYPE_MESSAGE, "Duration", False),
    ],
    "Response": [
        ("overall_code", 1, _FIELD.TYPE_INT32, "", False),
        ("statuses", 2, _FIELD.TYPE_MESSAGE, "Status", True),
    ],
}


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tests/ratelimit.proto", package="tests.ratelimit", syntax="proto3")
    for message, fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for name, number, kind, of, repeated in fields:
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, type=kind, label=label)
            if of:
                field.type_name = f".tests.ratelimit.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tests.ratelimit.{name}")) for name in _FIELDS
    }


_MESSAGES = _messages()


class RateLimitService:
    """What it was told, and what it counted."""

    def __init__(self, limits: Mapping[Entries, int]) -> None:
        self.limits = limits
        """Requests by descriptor; an empty value stands for each value, with a count of its own."""
        self.counted: Counter[Entries] = Counter()
        self.domains: set[str] = set()
        self.port = 0

    async def should_rate_limit(self, request: Any, context: Any) -> Any:
        self.domains.add(request.domain)
        statuses = [self._count(one, request.hits_addend) for one in request.descriptors]
        over = any(status.code == OVER_LIMIT for status in statuses)
        return _MESSAGES["Response"](overall_code=OVER_LIMIT if over else OK, statuses=statuses)

    def _count(self, descriptor: Any, hits: int) -> Any:
        entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
        limit = self.limits.get(entries, self.limits.get(tuple((k, "" if k != "rule" else v) for k, v in entries)))
        if limit is None:
            return _MESSAGES["Status"](code=OK)
        self.counted[entries] += descriptor.hits_addend.value if descriptor.HasField("hits_addend") else hits or 1
        left = max(0, limit - self.counted[entries])
        return _MESSAGES["Status"](
            code=OVER_LIMIT if self.counted[entries] > limit else OK,
            current_limit=_MESSAGES["Limit"](requests_per_unit=limit, unit=2),
            limit_remaining=left,
            duration_until_reset=_MESSAGES["Duration"](seconds=WINDOW_SECONDS),
        )


@asynccontextmanager
async def running_service(limits: Mapping[Entries, int], port: int = 0) -> AsyncIterator[RateLimitService]:
    """The service on 127.0.0.1."""
    service = RateLimitService(limits)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(
        service.should_rate_limit,
        request_deserializer=_MESSAGES["Request"].FromString,
        response_serializer=_MESSAGES["Response"].SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "envoy.service.ratelimit.v3.RateLimitService", {"ShouldRateLimit": handler}
            ),
        )
    )
    service.port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield service
    finally:
        await server.stop(0)
