"""One page on loopback, for the browser of the person who started it, and for nobody else.

The address carries a secret made for this run. A browser that shows it once gets a cookie and is
sent to the bare address, so the secret does not stay in its history. A request under another host
name than loopback's is refused: a web page that has rebound its name to 127.0.0.1 reads nothing.
"""

import hmac
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"
WAITING = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
    "<title>SinkSweep</title><p>The report is being written.</p>"
)


class PageServer(ThreadingHTTPServer):
    """Serves one file that may be rewritten while it is served."""

    daemon_threads = True

    def __init__(self, page: Path, port: int = 0) -> None:
        """Listen on loopback; port 0: one that is free. Raises `OSError` if it is taken."""
        self.page = page
        self.token = secrets.token_urlsafe(32)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The address with its secret."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"

    @property
    def hosts(self) -> set[str]:
        """The names under which a browser may ask."""
        return {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    @property
    def cookie(self) -> str:
        """Name of the cookie; ports of one host share their cookies."""
        return f"sinksweep-{self.server_port}"

    def knows(self, token: str) -> bool:
        """Tell whether this is the secret."""
        return hmac.compare_digest(token.encode(), self.token.encode())


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "SinkSweep"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page, a cookie, or a refusal."""
        address = urlsplit(self.path)
        given = parse_qs(address.query).get("token", [""])[0]
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        if self.headers.get("Host") not in self.server.hosts:
            self._say(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
        elif self.server.knows(given):
            self._say(HTTPStatus.SEE_OTHER, "", self._welcome)
        elif cookie is None or not self.server.knows(cookie.value):
            self._say(HTTPStatus.FORBIDDEN, "open the address that sweep watch --web printed")
        elif address.path != "/":
            self._say(HTTPStatus.NOT_FOUND, "there is one page, at /")
        else:
            try:
                page = self.server.page.read_text(encoding="utf-8")
            except FileNotFoundError:
                page = WAITING
            self._say(HTTPStatus.OK, page)

    def _welcome(self) -> None:
        self.send_header("Location", "/")
        value = f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
        self.send_header("Set-Cookie", value)

    def _say(self, status: HTTPStatus, text: str, more: Callable[[], None] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        kind = "text/html" if status is HTTPStatus.OK else "text/plain"
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        if more is not None:
            more()
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a logged address would hold the secret."""
