#!/usr/bin/env python3
"""Tell whether an Envoy that was started can serve its first client: what a proxy pod's startup probe runs.

It can when it takes connections from clients, has a version of every part of its configuration, and knows a healthy
broker. Kubernetes' own probes cannot ask that: those of gRPC cannot do TLS, and the HTTP port answers also while Envoy
refuses the clients' listener or its certificate; a proxy that started so would replace one that serves.
Standard library only: the image has nothing else.
"""

import argparse
import http.client
import json
import socket
import sys

TIMEOUT_SECONDS = 2.0


class NotStartedError(Exception):
    """Why it cannot serve."""


def check(clients: int, stats: int) -> None:
    """Look, given its ports on this machine. Raises `NotStartedError`."""
    if refused := without_version(stats):
        raise NotStartedError(f"Envoy has no usable {', '.join(refused)}: its log says why")
    try:
        socket.create_connection(("127.0.0.1", clients), TIMEOUT_SECONDS).close()
    except OSError as error:
        raise NotStartedError(f"Envoy takes no connections from clients on port {clients} yet: {error}") from error
    if get(stats, "/brokers")[0] != http.client.OK:
        raise NotStartedError("Envoy knows no healthy broker yet")


def without_version(stats: int) -> list[str]:
    """The parts of the configuration of which Envoy has not taken any version so far."""
    status, text = get(stats, "/config")
    if status != http.client.OK:
        raise NotStartedError(f"Envoy does not tell which configuration it runs: HTTP status {status}")
    parts = set()
    there = set()
    for stat in json.loads(text)["stats"]:
        part, _, fact = stat["name"].rpartition(".")
        parts.add(part)
        if fact == "version_text" and stat["value"]:
            there.add(part)
    return sorted(parts - there)


def get(port: int, path: str) -> tuple[int, str]:
    """The answer's status and body. Raises `NotStartedError` when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise NotStartedError(f"Envoy does not answer on port {port} yet: {error}") from error
    finally:
        connection.close()


def main() -> int:
    """Exit 0 when it can serve, 1 when not; what it prints then is in the events of the pod."""
    parser = argparse.ArgumentParser(prog="started", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=50051, help="port of the clients' listener (%(default)s)")
    parser.add_argument("--stats", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    options = parser.parse_args()
    try:
        check(options.clients, options.stats)
    except NotStartedError as error:
        print(f"started: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
