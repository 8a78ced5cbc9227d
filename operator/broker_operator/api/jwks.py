"""What a JSON Web Key Set (RFC 7517) must be, so that tokens can be verified with it and nothing secret is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Kind:
    """Public keys of one type, as far as Envoy verifies signatures with them."""

    parts: tuple[str, ...]
    algorithms: tuple[str, ...]
    """What `alg` begins with, where it is given."""
    curves: tuple[str, ...] = ()


# Not `oct`: who can verify with such a key can sign with it, too.
_KINDS = {
    "RSA": _Kind(("n", "e"), ("RS", "PS")),
    "EC": _Kind(("x", "y"), ("ES",), ("P-256", "P-384", "P-521")),
    "OKP": _Kind(("x",), ("EdDSA",), ("Ed25519",)),
}
_BASE64URL = "[A-Za-z0-9_-]+"


def problems(text: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the key set in this text: where inside (empty for all of it), and the message."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield "", f"is not JSON: {error}"
        return
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        yield "", 'must be a JSON Web Key Set: an object with a list "keys"'
        return
    if all(isinstance(key, dict) and _encrypts(key) for key in keys):
        yield "", "must have a key for signatures"
    for index, key in enumerate(keys):
        for message in _key(key) if isinstance(key, dict) else ["must be an object"]:
            yield f".keys[{index}]", message


def _encrypts(key: dict[str, Any]) -> bool:
    """Identity providers put such keys beside those for signatures; Envoy passes over them."""
    return key.get("use") == "enc"


def _key(key: dict[str, Any]) -> Iterator[str]:
    kty = key.get("kty")
    kind = _KINDS.get(kty) if isinstance(kty, str) else None
    if kind is None:
        yield f"kty must be one of {', '.join(_KINDS)}"
        return
    if "d" in key:
        yield "is a private key: publish only its public part, and take another key, since this one is known now"
    if not _encrypts(key):
        yield from _signatures(key, kty, kind)


def _signatures(key: dict[str, Any], kty: Any, kind: _Kind) -> Iterator[str]:
    for part in kind.parts:
        if not isinstance(key.get(part), str) or re.fullmatch(_BASE64URL, key[part]) is None:
            yield f"{part} is required for kty {kty}, in base64url"
    if kind.curves and key.get("crv") not in kind.curves:
        yield f"crv must be one of {', '.join(kind.curves)} for kty {kty}"
    if "alg" in key and not str(key["alg"]).startswith(kind.algorithms):
        yield f"alg must begin with {' or '.join(kind.algorithms)} for kty {kty}"
