#!/usr/bin/env python3
"""Take an Envoy out of service without breaking calls: what a proxy pod's preStop hook runs.

Envoy does no drain on SIGTERM: it exits at once and its clients see broken connections. So before that signal this
script makes Envoy fail its readiness check, asks clients by GOAWAY to open their next connection elsewhere, and waits
until none is connected or the budget is spent. Standard library only: the image has nothing else.
"""

import argparse
import http.client
import re
import socket
import sys
import time

POLL_SECONDS = 0.25
CALL_TIMEOUT_SECONDS = 5.0


class AdminError(Exception):
    """Envoy's admin interface cannot be reached, or its answer is not the one that a drain needs."""


class Admin(http.client.HTTPConnection):
    """Envoy's admin interface on a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=CALL_TIMEOUT_SECONDS)
        self.path = path

    def connect(self) -> None:
        """Called by the base class before the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def call(self, method: str, target: str) -> str:
        """The answer's body; `AdminError` when there is none or its status is not 200."""
        try:
            self.request(method, target)
            with self.getresponse() as response:
                body = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"no answer from Envoy's admin socket {self.path} to {target}: {error}") from error
        if response.status != http.client.OK:
            raise AdminError(f"Envoy answered {method} {target} with {response.status}: {body.strip()}")
        return body

    def connections(self, listener: str) -> int:
        """How many clients are connected to the listener with this statistics prefix."""
        name = f"http.{listener}.downstream_cx_active"
        body = self.call("GET", f"/stats?filter=^{re.escape(name)}$")
        match = re.fullmatch(rf"{re.escape(name)}: (\d+)", body.strip())
        if match is None:
            raise AdminError(f"Envoy has no statistic {name}: --listener must name the stat_prefix of a listener")
        return int(match[1])


def drain(admin: Admin, listener: str, settle: float, budget: float) -> int:
    """Drain, wait, and return how many connections are left (0 unless the budget, in seconds, is spent).

    At least `settle` seconds pass, so that whoever balances on readiness stops sending new connections here.
    """
    start = time.monotonic()
    admin.call("POST", "/healthcheck/fail")
    admin.call("POST", "/drain_listeners?graceful&skip_exit")
    while True:
        left = admin.connections(listener)
        waited = time.monotonic() - start
        if (left == 0 and waited >= settle) or waited >= budget:
            return left
        time.sleep(POLL_SECONDS)


def main() -> int:
    """Exit 0 when the drain was done (also when the budget ended it), 1 when Envoy could not be asked to."""
    parser = argparse.ArgumentParser(prog="drain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--socket", default="/run/envoy/admin.sock", help="Envoy's admin socket (%(default)s)")
    parser.add_argument("--listener", default="ingress", help="stat_prefix of the clients' listener (%(default)s)")
    parser.add_argument("--settle", type=float, default=3, help="seconds to wait at least (%(default)s)")
    parser.add_argument("--budget", type=float, default=20, help="seconds to wait at most (%(default)s)")
    options = parser.parse_args()
    try:
        left = drain(Admin(options.socket), options.listener, options.settle, options.budget)
    except AdminError as error:
        print(f"drain: {error}", file=sys.stderr)
        return 1
    print(f"drain: done, {left} connections left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
