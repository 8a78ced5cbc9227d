"""What the native door is told to say."""

from __future__ import annotations

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from broker.server.door import DoorLimits
from broker.server.refusals import refusals


def test_every_reason_of_the_extension_has_its_words_and_no_other() -> None:
    native = pytest.importorskip("brokercluster_native", reason="the native door is not installed")
    assert set(refusals(DoorLimits())) == set(native.REFUSALS)


def test_details_agree_with_the_status_and_name_the_limit() -> None:
    code, message, details, _ = refusals(DoorLimits(max_request=7))["too_large"]
    status = Status.FromString(details)
    info = ErrorInfo()
    assert (status.code, status.message) == (code, message)
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("REQUEST_TOO_LARGE", {"limit": "7"})
