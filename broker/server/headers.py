"""The request headers that a door hands over with each call, by their places in its `Metadata`.

What begins with x-broker- comes from the proxy in front, which drops such headers of clients and sends its own. Who is
not behind such a proxy must not believe them: anybody can send them.
"""

from typing import Final

TRACE: Final = 0
"""traceparent: https://www.w3.org/TR/trace-context/."""
ADDRESS: Final = 1
"""The client's IP address."""
CLIENT: Final = 2
"""The value of the header by which rules of rate limits tell clients."""
CERTIFICATE: Final = 3
"""Who the client's certificate says it is."""
TOKEN: Final = 4
"""The subject of the client's JWT."""
API_KEY: Final = 5
"""The name of the client's API key."""
QUOTA: Final = 6
"""IP:PORT at which the proxy that carries the call tells whether its rate limits have room."""

NAMES: Final = (
    "traceparent",
    "x-broker-address",
    "x-broker-client",
    "x-broker-certificate",
    "x-broker-token",
    "x-broker-api-key",
    "x-broker-quota",
)


def asked_for(*, trust_proxy: bool) -> list[str]:
    """Return the names of the headers to ask a door for; without trust the metadata ends after `TRACE`."""
    return list(NAMES) if trust_proxy else [NAMES[TRACE]]
