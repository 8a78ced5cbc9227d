"""Requests that a proxy in front would read otherwise than we do.

Envoy finds the subject of a request by the number of its field, whatever the type that its bytes announce. Here a field
of another type is unknown and ignored, as protobuf wants it. So one could name a cheap subject to the proxy and another
to us; no encoder of protobuf does that.
"""

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from broker.api.broker_pb2 import PublishRequest
from broker.errors import InvalidRequest
from broker.server.door import Metadata
from broker.server.headers import QUOTA

_SUBJECT = PublishRequest.SUBJECT_FIELD_NUMBER
"""The same in all requests that have one."""


def is_charged(metadata: Metadata | None) -> bool:
    """Whether a proxy with rate limits has carried a call."""
    return metadata is not None and len(metadata) > QUOTA and metadata[QUOTA] is not None


def check_readable(request: Message, metadata: Metadata | None) -> None:
    """Refuse a request for whose subject a proxy may have charged another.

    Raises:
        InvalidRequest: REQUEST_MALFORMED.
    """
    if not is_charged(metadata):
        return
    unknown = UnknownFieldSet(request)
    if any(unknown[place].field_number == _SUBJECT for place in range(len(unknown))):
        text = f"field {_SUBJECT} of the request is not always a text: only one subject can be meant"
        raise InvalidRequest("REQUEST_MALFORMED", text, {"message": request.DESCRIPTOR.full_name})
