"""An address where something else listens, or nothing: one line within seconds, and a remedy."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest

from orchestrator.cluster.cluster_file import filled_in
from orchestrator.cluster.connection import Cluster, connect
from orchestrator.cluster.head import Head
from orchestrator.cluster.jobs import submit_job
from orchestrator.errors import ClusterError, OrchestratorError, UsageError

ROOT = Path(__file__).parents[3]


def http_server() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def silent_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def grpc_server() -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


SERVERS = {"http": http_server, "silent": silent_server, "grpc": grpc_server}


@pytest.fixture(params=SERVERS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    yield from SERVERS[request.param]()


def go_to(address: str, *, job: bool) -> None:
    if job:
        submit_job(address, "true", ".")
    else:
        with connect(address=address):
            pass


def refusal(address: str, *, job: bool = False) -> str:
    started = time.monotonic()
    with pytest.raises(OrchestratorError) as caught:
        go_to(address, job=job)
    assert time.monotonic() - started < 20
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_port_of_another_service_is_no_cluster(port: int) -> None:
    assert "something else than Ray answers there" in refusal(f"127.0.0.1:{port}")


def test_a_port_of_another_service_takes_no_jobs(port: int) -> None:
    message = refusal(f"http://127.0.0.1:{port}", job=True)
    assert "something else than Ray's job server answers there" in message
    assert message.isascii()


TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def guarded_port() -> Iterator[int]:
    """A GCS that lets in who shows its token, and then knows nothing."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, "let in")

    server = grpc.server(futures.ThreadPoolExecutor(1))
    methods = {"GetClusterId": grpc.unary_unary_rpc_method_handler(answer)}
    handler = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", methods)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.mark.parametrize(
    ("mode", "token", "said"),
    [
        ("disabled", TOKEN, "RAY_AUTH_MODE is not `token` here"),
        ("token", "another", "does not accept the token of this machine (RAY_AUTH_TOKEN_PATH)"),
        ("token", None, "there is none here (RAY_AUTH_TOKEN_PATH)"),
        ("token", TOKEN, "something else than Ray answers there"),
    ],
)
def test_a_cluster_with_a_token_says_at_once_why_it_does_not_let_in(
    mode: str, token: str | None, said: str, guarded_port: int, tmp_path: Path
) -> None:
    if token:
        (tmp_path / "token").write_text(token)
    environment = {
        "RAY_AUTH_MODE": mode,
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "GRPC_VERBOSITY": "NONE",
    }
    told = subprocess.run(  # Ray reads the mode once, when it is imported
        [sys.executable, "-c", KNOCK, f"127.0.0.1:{guarded_port}"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stderr == ""  # Ray itself would print each time it knocks
    assert said in told.stdout


def test_a_head_that_refuses_to_answer_is_silent_and_no_other_cluster(guarded_port: int) -> None:
    assert Cluster(f"127.0.0.1:{guarded_port}").identity() is None


KNOCK = """
import sys
from orchestrator.cluster.connection import Cluster, connect
from orchestrator.errors import ClusterError
try:
    with connect(address=sys.argv[1]):
        print("let in")
except ClusterError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("", "HOST:PORT or auto"),
        ("head", "HOST:PORT or auto"),
        ("http://head:8265", "HOST:6379 of the head"),
        ("head:99999", "HOST:PORT or auto"),
    ],
)
def test_an_address_that_cannot_be_one_says_what_can(address: str, allowed: str) -> None:
    with pytest.raises(UsageError, match=allowed), connect(address=address):
        pass


def test_jobs_are_sent_to_a_dashboard() -> None:
    assert "must be http://HOST:8265" in refusal("head:6379", job=True)
    assert "no Ray job server answers there" in refusal("http://127.0.0.1:1", job=True)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("ssh: connect to host a port 22: Connection refused", "is the machine on"),
        ("me@a: Permission denied (publickey).", "ssh-copy-id"),
    ],
)
def test_a_tunnel_that_does_not_open_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    (tmp_path / "ssh").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "key").touch()
    file = tmp_path / "c.yaml"
    file.write_text(filled_in("a", ["b"], "me", str(tmp_path / "key")))
    with pytest.raises(ClusterError, match=remedy) as caught, Head(file).tunnel():
        pass
    assert said in str(caught.value)
