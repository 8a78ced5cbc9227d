"""What a JSON Web Key Set (RFC 7517) must be, so that tokens can be verified with it and nothing secret is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""The members of a public key of each type. Not `oct`: who can verify with such a key can sign with it, too."""


def problems(text: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the key set in this text: where inside (empty for all of it), and the message."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield "", f"is not JSON: {error}"
        return
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not keys:
        yield "", 'must be a JSON Web Key Set: an object with a list "keys" that is not empty'
        return
    for index, key in enumerate(keys):
        for message in _key(key):
            yield f".keys[{index}]", message


def _key(key: Any) -> Iterator[str]:
    if not isinstance(key, dict):
        yield "must be an object"
        return
    parts = _PARTS.get(key["kty"]) if isinstance(key.get("kty"), str) else None
    if parts is None:
        yield f"kty must be one of {', '.join(_PARTS)}"
        return
    if "d" in key:
        yield "is a private key: publish only its public part, and take another key, since this one is known now"
    for part in parts:
        if not isinstance(key.get(part), str) or not key[part]:
            yield f"{part} is required for kty {key['kty']}"
