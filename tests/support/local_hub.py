"""A Hugging Face Hub on loopback: enough of its HTTP API to look up and download real files.

It lets the tests drive `huggingface_hub` and `datasets` themselves instead of replacing them.
"""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

COMMITS = {"main": "1" * 40, "v2": "2" * 40}
"""What the branches of every repository stand for; any 40-digit commit is known too."""


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve `root/{models,datasets}/OWNER/NAME/...` and yield the endpoint's address."""

    class Handler(_Handler):
        folder = root

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    folder: Path

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "api":
            self._api(parts[1:])
        else:
            self._resolve(parts)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")][1:]
        folder = self.folder.joinpath(*parts[:3])
        wanted = [folder / path for path in body["paths"]]
        self._json([_entry(path, folder) for path in wanted if path.exists()])

    def _api(self, parts: list[str]) -> None:
        """`KIND/OWNER/NAME[/revision/REV]` and `KIND/OWNER/NAME/tree/REV[/PATH]`."""
        folder = self.folder.joinpath(*parts[:3])
        revision = parts[4] if len(parts) > 4 else "main"
        commit = COMMITS.get(revision, revision)
        if not folder.is_dir() or len(parts) < 3:
            self._error("RepoNotFound")
        elif len(commit) != 40:
            self._error("RevisionNotFound")
        elif parts[3:4] == ["tree"]:
            below = folder.joinpath(*parts[5:])
            found = sorted(
                below.rglob("*") if "recursive" in self.path.lower() else below.glob("*")
            )
            self._json([_entry(path, folder) for path in found])
        else:
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in files]
            self._json(
                {"id": "/".join(parts[1:3]), "sha": commit, "siblings": siblings, "tags": []}
                | {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
            )

    def _resolve(self, parts: list[str]) -> None:
        """`[datasets/]OWNER/NAME/resolve/REV/PATH`."""
        kind = "datasets" if parts[0] == "datasets" else "models"
        owner, name, _, revision, *path = parts[1:] if kind == "datasets" else parts
        file = self.folder.joinpath(kind, owner, name, *path)
        if not file.is_file():
            self._error("EntryNotFound")
            return
        data = file.read_bytes()
        self._send(
            200, data, {"X-Repo-Commit": COMMITS.get(revision, revision), "ETag": _etag(data)}
        )

    def _error(self, code: str) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the tests' output is for failures."""


def _entry(path: Path, folder: Path) -> dict[str, object]:
    name = PurePosixPath(path.relative_to(folder)).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    data = path.read_bytes()
    return {"type": "file", "path": name, "oid": _etag(data).strip('"'), "size": len(data)}


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha1(data).hexdigest()}"'
