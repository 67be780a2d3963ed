"""A real S3 endpoint on loopback (moto's server) that can be told to misbehave."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "sweeps"


@dataclass
class FlakyS3:
    """The endpoint; `fault` decides about each request: a status, `drop`, or None for none."""

    port: int = 0
    fault: Callable[[str, str], int | str | None] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def fail(self, times: int, outcome: int | str, method: str, part: str = "") -> None:
        """Let the next requests of this method, with this in their path, end so."""
        left = [times]

        def fault(given: str, path: str) -> int | str | None:
            if given == method and part in path and left[0] > 0:
                left[0] -= 1
                return outcome
            return None

        self.fault = fault


@contextlib.contextmanager
def flaky_s3() -> Iterator[FlakyS3]:
    """Run the endpoint in a thread, with one empty bucket."""
    flaky = FlakyS3()
    backend = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        flaky.requests.append((method, f"{path}?{environ['QUERY_STRING']}"))
        outcome = flaky.fault(method, f"{path}?{environ['QUERY_STRING']}")
        if outcome == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if isinstance(outcome, int):
            start(f"{outcome} no", [("Content-Type", "application/xml")])
            code = "AccessDenied" if outcome == 403 else "InternalError"
            return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]
        return backend(environ, start)  # type: ignore[no-any-return]

    server = make_server("127.0.0.1", 0, application, threaded=True)
    flaky.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield flaky
    finally:
        server.shutdown()
        thread.join()
