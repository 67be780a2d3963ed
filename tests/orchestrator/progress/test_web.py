"""The page on loopback: given to who has the secret, on this machine, and to nobody else."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.progress.web import LOOPBACK, PageServer
from orchestrator.store.store import Store
from tests.orchestrator.reports.test_status import driver
from tests.support.analysis_rows import row


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "page.html").write_text("<p>one</p>")
    with PageServer(tmp_path / "page.html") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(port: int, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_without_the_secret_nothing_is_given(server: PageServer) -> None:
    for path in ("/", "/?token=", "/?token=wrong", "/page.html", "/../page.html"):
        status, body, _ = get(server.server_port, path)
        assert (status, "<p>" in body) == (403, False), path
    status, _, _ = get(server.server_port, "/", Cookie=f"{server.cookie}=wrong")
    assert status == 403


def test_the_printed_address_leads_to_the_page_and_leaves_the_secret_behind(
    server: PageServer,
) -> None:
    status, body, headers = get(server.server_port, server.url.split(str(server.server_port))[1])
    assert (status, body, headers["Location"]) == (303, "", "/")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    status, body, headers = get(server.server_port, "/", Cookie=cookie)
    assert (status, body, headers["Cache-Control"]) == (200, "<p>one</p>", "no-store")
    server.page.write_text("<p>two</p>")
    assert get(server.server_port, "/", Cookie=cookie)[1] == "<p>two</p>"
    assert get(server.server_port, "/other", Cookie=cookie)[0] == 404


def test_a_name_that_was_rebound_to_loopback_is_refused(server: PageServer) -> None:
    cookie = f"{server.cookie}={server.token}"
    given = {"Cookie": cookie, "Host": f"evil.example:{server.server_port}"}
    assert get(server.server_port, "/", **given)[0] == 403
    assert get(server.server_port, f"/?token={server.token}", Host=given["Host"])[0] == 403


def test_it_listens_on_loopback_alone_and_every_run_has_a_secret_of_its_own(
    server: PageServer, tmp_path: Path
) -> None:
    assert server.server_address[0] == LOOPBACK
    with PageServer(tmp_path / "page.html") as other:
        assert other.token != server.token
        assert len(other.token) >= 40


def test_a_page_that_is_not_written_yet_is_waited_for(server: PageServer) -> None:
    server.page.unlink()
    status, body, _ = get(server.server_port, "/", Cookie=f"{server.cookie}={server.token}")
    assert status == 200
    assert "being written" in body


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_sweep_watch_web_serves_the_report_of_a_running_sweep_until_it_is_stopped(
    number: signal.Signals, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.append_trials([row(method="streaming", window_size=64)])
    driver(store, "w")
    command = [sys.executable, "-m", "orchestrator.cli", "watch", "--web", "--store", store.uri]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as served:
        assert served.stdout is not None
        address = served.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)\n", address)
        assert found, address
        port, token = int(found[1]), found[2]
        cookie = f"sinksweep-{port}={token}"
        deadline = time.monotonic() + 120
        while "SinkSweep report" not in (body := get(port, "/", Cookie=cookie)[1]):
            assert time.monotonic() < deadline, body
            time.sleep(0.5)
        assert "1 result in store" in body
        assert get(port, "/")[0] == 403
        writers = psutil.Process(served.pid).children()
        served.send_signal(number)
        assert "stopped serving" in served.stdout.read()
        assert served.wait(timeout=30) == 0
        assert writers
        assert psutil.wait_procs(writers, timeout=10)[1] == [], "nothing of it goes on"
