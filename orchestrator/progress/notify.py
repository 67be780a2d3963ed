"""`--notify URL`: one JSON message when a launch has failed once, or else when it has ended.

A webhook that does not answer must not disturb a sweep: the message is sent from a thread of its
own, a refusal is a note on the terminal.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import UsageError
from orchestrator.progress.display import describe_row
from orchestrator.progress.snapshot import Listener, Snapshot

TIMEOUT = 10.0
"""Seconds that a webhook has to answer."""


class Notifier:
    """A listener that passes everything on to another one and posts one message."""

    def __init__(self, url: str, listener: Listener) -> None:
        self.check(url)
        self._url, self._listener = url, listener
        self._last_failure: str | None = None
        self._latest: Snapshot | None = None
        self._thread: threading.Thread | None = None

    @staticmethod
    def check(url: str) -> None:
        """Raise `UsageError` for anything but an http or https URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"--notify: must be an http:// or https:// URL, got {url!r}")

    def update(self, snapshot: Snapshot) -> None:
        """Pass the state on; post at the first failed evaluation and at the end."""
        self._listener.update(snapshot)
        self._latest = snapshot
        if snapshot.failed or snapshot.state == "ended":
            self._post_once("failure" if snapshot.failed else "end", snapshot)

    def row(self, row: Mapping[str, Any]) -> None:
        """Pass an attempt on."""
        if row.get("status") == "failed":
            self._last_failure = describe_row(row)
        self._listener.row(row)

    def note(self, message: str) -> None:
        """Pass a message on."""
        self._listener.note(message)

    def close(self) -> None:
        """Say that the launch broke off, if nothing was said yet, and wait for the message."""
        if self._latest is not None:
            self._post_once("aborted", self._latest)
        if self._thread is not None:
            self._thread.join(TIMEOUT + 1)

    def _post_once(self, event: str, snapshot: Snapshot) -> None:
        if self._thread is not None:
            return
        message = {
            "event": event,
            "sweep": snapshot.sweep,
            "total": snapshot.total,
            "done": snapshot.done,
            "failed": snapshot.failed,
            "skipped": snapshot.skipped,
            "state": snapshot.state,
            "seconds": round(snapshot.seconds, 3),
            "failure": self._last_failure,
        }
        self._thread = threading.Thread(target=self._post, args=(message,), daemon=True)
        self._thread.start()

    def _post(self, message: Mapping[str, Any]) -> None:
        request = urllib.request.Request(
            self._url,
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                pass
        except (OSError, ValueError) as error:
            self._listener.note(f"--notify: {self._url} did not take the message: {error}")
