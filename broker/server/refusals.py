"""What the native door says when it refuses a call by itself.

It knows nothing of messages, so it is told beforehand. The names are those of native/src/refusal.rs.
"""

from collections.abc import Mapping

from broker.errors import QUEUE_FULL_FOR, InvalidRequest, LimitReached, Refused
from broker.server.door import DoorLimits, Ending
from broker.server.statuses import ending

UNIMPLEMENTED, DEADLINE_EXCEEDED = 12, 4

ENCODINGS = (("grpc-accept-encoding", "identity,gzip"),)


def refusals(limits: DoorLimits) -> Mapping[str, tuple[int, str, bytes, list[tuple[str, str]]]]:
    """Return code, message, details and trailers of each refusal by its name."""
    malformed = {
        "bad_timeout": "grpc-timeout is not a number of at most 8 digits and one of H, M, S, m, u, n",
        "not_one_message": "the call takes exactly one request message",
        "cut_off": "the request ends within a message",
        "bad_compression": "the request message is not compressed as grpc-encoding says: use gzip or leave it plain",
    }
    errors: dict[str, Refused] = {
        name: InvalidRequest("REQUEST_MALFORMED", text, {"message": "grpc"}) for name, text in malformed.items()
    }
    errors["too_large"] = InvalidRequest(
        "REQUEST_TOO_LARGE",
        f"the request message is larger than {limits.max_request} bytes: send smaller frames or bodies",
        {"limit": str(limits.max_request)},
    )
    for name, reason, text, limit in (
        ("too_many_calls", "CALLS_FULL", "calls are being served", limits.max_calls),
        ("too_many_request_bytes", "REQUESTS_FULL", "bytes of requests wait to be served", limits.max_received),
        ("too_many_answer_bytes", "ANSWERS_FULL", "bytes wait for clients that do not read", limits.max_queued),
    ):
        errors[name] = LimitReached(
            reason, f"{limit} {text}: try again later", {"limit": str(limit)}, retry_after=QUEUE_FULL_FOR
        )
    endings: dict[str, Ending] = {name: ending(0, error) for name, error in errors.items()}
    endings["unknown_method"] = (0, UNIMPLEMENTED, "no such call here: server reflection lists what there is", b"", ())
    endings["unknown_encoding"] = (0, UNIMPLEMENTED, "grpc-encoding is neither identity nor gzip", b"", ENCODINGS)
    endings["too_slow"] = (
        0,
        DEADLINE_EXCEEDED,
        f"the request did not arrive within {limits.request_timeout:g} s",
        b"",
        (),
    )
    endings["deadline_exceeded"] = (0, DEADLINE_EXCEEDED, "the call's own deadline has passed", b"", ())
    return {
        name: (code, message, details, list(trailers))
        for name, (_, code, message, details, trailers) in endings.items()
    }
