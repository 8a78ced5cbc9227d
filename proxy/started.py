#!/usr/bin/env python3
"""Tell whether an Envoy that was started can serve its first client: what a proxy pod's startup probe runs.

It can when it takes connections from clients and knows a healthy broker. Kubernetes' own probes cannot ask that: those
of gRPC cannot do TLS, and the HTTP port answers also while Envoy refuses the configuration of the clients' listener.
Standard library only: the image has nothing else.
"""

import argparse
import http.client
import socket
import sys

TIMEOUT_SECONDS = 2.0


def obstacle(clients: int, stats: int) -> str:
    """Why it cannot serve, given its ports on this machine; empty when it can."""
    try:
        socket.create_connection(("127.0.0.1", clients), TIMEOUT_SECONDS).close()
    except OSError as error:
        return f"Envoy takes no connections from clients on port {clients} yet: {error}"
    connection = http.client.HTTPConnection("127.0.0.1", stats, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/brokers")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"Envoy does not tell on port {stats} whether a broker is healthy: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else "Envoy knows no healthy broker yet"


def main() -> int:
    """Exit 0 when it can serve, 1 when not; what it prints then is in the events of the pod."""
    parser = argparse.ArgumentParser(prog="started", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=50051, help="port of the clients' listener (%(default)s)")
    parser.add_argument("--stats", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    options = parser.parse_args()
    found = obstacle(options.clients, options.stats)
    if found:
        print(f"started: {found}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
