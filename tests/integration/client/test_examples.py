"""The examples in the client's docstrings are whole programs, and print what they say they print."""

import re
import subprocess
import sys
import textwrap

import pytest

import broker.client
from broker.client import Broker, connect
from tests.support.broker import BrokerProcess

PROGRAM = re.compile(r"^ *import asyncio$.*?^ *asyncio\.run\(main\(\)\)$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("documented", [broker.client, connect, Broker.subscribe], ids=lambda each: each.__name__)
def test_example(documented: object) -> None:
    found = PROGRAM.search(documented.__doc__ or "")
    assert found
    program = textwrap.dedent(found[0])
    expected = re.findall(r"print\(.*\)  # (.*)", program)
    assert expected
    with BrokerProcess("--store=memory") as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program.replace("127.0.0.1:50051", server.address)],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")
