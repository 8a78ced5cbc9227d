"""How a program gets in: what it trusts and what it proves itself with, as JSON in its last argument.

{"ca": PEM, "certificate": PEM, "key": PEM, "api_key": KEY}: all may be left out.
"""

import json
from collections.abc import Mapping
from typing import Any

import grpc


def access(secrets: str = "{}") -> Mapping[str, Any]:
    """Options of `connect`."""
    given: dict[str, str] = json.loads(secrets)
    found: dict[str, Any] = {}
    if "ca" in given:
        ca, certificate, key = (
            given[name].encode() if name in given else None for name in ("ca", "certificate", "key")
        )
        found["credentials"] = grpc.ssl_channel_credentials(ca, key, certificate)
        found["options"] = [("grpc.ssl_target_name_override", "localhost")]
    if "api_key" in given:
        found["metadata"] = [("x-api-key", given["api_key"])]
    return found
