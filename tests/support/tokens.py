"""JSON Web Tokens, signed by openssl."""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


class Issuer:
    """Signs tokens (RS256).

    Attributes:
        jwks: the public key, as a JSON Web Key Set.
    """

    def __init__(self, directory: Path, name: str = "https://issuer.example", key_id: str = "1") -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("openssl, which signs tokens, is not on this machine")
        self._openssl = openssl
        self._name = name
        self._key_id = key_id
        self._key = directory / f"jwt-{key_id}.key"
        self._run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._key))
        modulus = self._run("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": key_id, "n": _text(bytes.fromhex(modulus))}
        self.jwks = json.dumps({"keys": [{**key, "e": _text(b"\1\0\1")}]})

    def token(self, subject: Any = "alice", seconds: int = 600, **claims: Any) -> str:
        """Return a token that is good for so long."""
        said = {"iss": self._name, "sub": subject, "exp": int(time.time()) + seconds, **claims}
        return self._signed({name: value for name, value in said.items() if value is not None})

    def _signed(self, claims: dict[str, Any]) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        text = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_text(self._run('dgst', '-sha256', '-sign', str(self._key), data=text.encode()))}"

    def _run(self, *arguments: str, data: bytes = b"") -> bytes:
        return subprocess.run([self._openssl, *arguments], input=data, check=True, capture_output=True).stdout


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
