#!/usr/bin/env python3
"""Give Envoy the clients' API keys: what a proxy pod runs beside it.

In a mounted Secret each file is one client: its name, and in it the key. Envoy takes keys as part of its configuration
only, which must stand in no ConfigMap. So the ConfigMap has that part without keys, and this program writes it with
them to where Envoy follows it, in memory, and again whenever one of both changes. A Secret that cannot be used as a
whole changes nothing: the keys before it stay in use. No key is ever printed. Standard library only: the image has
nothing else.
"""

import argparse
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

MAX_KEY_BYTES = 4096
POLL_SECONDS = 1.0

_NAME = re.compile(r"[-._a-zA-Z0-9]+")
_KEY = re.compile(rb"[!-~]+")
_FIELD = "credentials"


class Unusable(Exception):
    """The Secret or the template cannot be used: says what is wrong with it, without a key."""


def read_keys(directory: Path) -> dict[str, str]:
    """Return the key of each client.

    Raises:
        Unusable: a file cannot be read, is no key, or two clients have the same.
    """
    # A Secret changes by swapping this link: what it points to belongs together.
    version = directory / "..data"
    try:
        files = sorted((version if version.exists() else directory).resolve(strict=True).iterdir())
        found = {file.name: file.read_bytes() for file in files if not file.name.startswith("..")}
    except OSError as error:
        raise Unusable(f"cannot read {error.filename}: {error.strerror}") from error
    clients: dict[str, str] = {}
    for client, content in found.items():
        key = _checked(client, content)
        if key in clients:
            raise Unusable(f"{clients[key]} and {client} have the same key: give each client its own")
        clients[key] = client
    return {client: key for key, client in clients.items()}


def _checked(client: str, content: bytes) -> str:
    if not _NAME.fullmatch(client):
        raise Unusable(f"{client!a} is no name of a client: use letters, digits, '-', '_' and '.'")
    key = content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise Unusable(f"the key of {client} is empty")
    if len(key) > MAX_KEY_BYTES:
        raise Unusable(f"the key of {client} has {len(key)} bytes: at most {MAX_KEY_BYTES} are allowed")
    if not _KEY.fullmatch(key):
        raise Unusable(f"the key of {client} has a space, a control character or one that is not ASCII")
    return key.decode("ascii")


def complete(template: Path, keys: dict[str, str]) -> str:
    """Return Envoy's configuration with these keys.

    Raises:
        Unusable: the template cannot be read.
    """
    try:
        config = json.loads(template.read_bytes())
    except OSError as error:
        raise Unusable(f"cannot read {template}: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(f"{template} is not JSON: {error}") from error
    return json.dumps(_with(config, [{"key": key, "client": client} for client, key in keys.items()]))


def _with(node: Any, credentials: list[dict[str, str]]) -> Any:
    if isinstance(node, list):
        return [_with(one, credentials) for one in node]
    if not isinstance(node, dict):
        return node
    return {name: credentials if name == _FIELD else _with(value, credentials) for name, value in node.items()}


def put(file: Path, content: str) -> bool:
    """Make this the content of the file, in one step and for ourselves alone to read; False when it was already."""
    if file.exists() and file.read_text() == content:
        return False
    new = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(content)
    new.replace(file)
    return True


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="api-keys", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the Secret: a file for each client")
    parser.add_argument("--template", type=Path, required=True, metavar="FILE", help="the configuration without keys")
    parser.add_argument("--file", type=Path, required=True, metavar="FILE", help="where Envoy finds it with the keys")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Process 1 of a container has no default for them.
        signal.signal(number, lambda *_: sys.exit(0))
    said = ""
    while True:
        try:
            keys = read_keys(options.keys)
            changed = put(options.file, complete(options.template, keys))
            problem = ""
        except (Unusable, OSError) as error:
            changed, problem = False, str(error)
        if changed:
            print(f"api-keys: Envoy has the keys of {len(keys)} clients", flush=True)
        if problem and problem != said:
            kept = "those before stay in use" if options.file.exists() else "Envoy cannot start without"
            print(f"api-keys: the keys cannot be used, {kept}: {problem}", file=sys.stderr, flush=True)
        said = problem
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
