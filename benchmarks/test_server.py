"""Time of the server's list of runs with 10,000 recorded runs, over loopback, 200 readers at once, and pages of events.

The bar of the list is 50 ms for 99 of 100 requests; the table says whether it is kept. The server keeps runs and the
order of each filter until the registry changes. One benchmark asks the same questions, the other new ones only.
"""

from __future__ import annotations

import gzip
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from benchmarks.test_tracking import workspace  # noqa: F401
from peak_trade.journal.files import EVENTS
from tests.sessions.running import sealed_sessions

N_REQUESTS = 500
N_READERS = 200
N_EVENTS = 1_000_000
MAX_MS = 50.0
QUERIES = ("", "?sort=-sharpe", "?offset=9000", "?run_type=backtest&symbol=BTC/USDT", "?limit=20&since=2020-01-01")


@dataclass(frozen=True)
class Server:
    """A server in a process of its own: its host and port, and the process."""

    address: str
    process: psutil.Process

    @property
    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def serving(workspace: Path, root: Path) -> Iterator[Server]:  # noqa: F811
    """A server of a workspace and of a site of one page."""
    (root / "reports" / "site").mkdir(parents=True)
    (root / "reports" / "site" / "index.html").write_text("<p>one page</p>")
    command = [sys.executable, "-m", "peak_trade.cli", "site", "serve", "--port", "0"]
    environment = os.environ | {"PEAK_TRADE_HOME": str(workspace)}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = urlsplit(process.stdout.readline().split()[2].rstrip(".")).netloc
    yield Server(address, psutil.Process(process.pid))
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="module")
def server(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:  # noqa: F811
    with serving(workspace, tmp_path_factory.mktemp("served")) as server:
        yield server


def milliseconds(connection: http.client.HTTPConnection, path: str) -> float:
    begun = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    assert len(response.read()) > 1_000
    assert response.status == 200
    return 1e3 * (time.perf_counter() - begun)


def new_queries(n: int) -> list[str]:
    """Queries that the server was not asked before: other pages, filters and orders."""
    return [
        f"?offset={7 * n + 1}",
        f"?sort=-sharpe&offset={5 * n + 1}",
        f"?since=2020-01-{1 + n % 28:02d}T{n // 28:02d}:00",
        f"?run_type=backtest&symbol=BTC/USDT&limit={50 + n}",
        f"?sort=symbol&limit={50 + n}",
    ]


@pytest.mark.parametrize("queries", [lambda n: QUERIES, new_queries], ids=["again", "new"])
def test_the_list_of_10000_runs_over_loopback(benchmark, server, queries):
    def measured():
        with closing(http.client.HTTPConnection(server.address, timeout=30)) as connection:
            return [
                [milliseconds(connection, f"/api/experiments{query}") for query in queries(n)]
                for n in range(N_REQUESTS // len(QUERIES))
            ]

    before = server.cpu_seconds
    times = np.array(benchmark.pedantic(measured, rounds=1, warmup_rounds=0))
    cpu_ms = 1e3 * (server.cpu_seconds - before) / times.size
    p99 = float(np.percentile(times, 99))
    kind = "the same questions again" if queries is not new_queries else "each question new"
    benchmark.extra_info["job"] = f"list of 10,000 runs over loopback, {kind}"
    benchmark.extra_info["bars"] = [[f"p99 {p99:.0f} ms <= {MAX_MS:.0f} ms", p99 <= MAX_MS]]
    benchmark.extra_info["processor time of the server for a request, ms"] = round(cpu_ms, 1)
    benchmark.extra_info["p50 and p99 by kind of question, ms"] = {
        queries(0)[place]: np.percentile(times[:, place], (50, 99)).round(1).tolist() for place in range(len(QUERIES))
    }


def test_200_readers_at_once(benchmark, server):
    def read(_):
        with closing(http.client.HTTPConnection(server.address, timeout=60)) as connection:
            return milliseconds(connection, "/api/experiments?limit=20")

    def measured():
        with ThreadPoolExecutor(N_READERS) as readers:
            return list(readers.map(read, range(N_READERS * 5)))

    times = benchmark.pedantic(measured, rounds=1)
    benchmark.extra_info["job"] = f"{N_READERS} readers at once"
    benchmark.extra_info["bars"] = [["no error", len(times) == N_READERS * 5]]


@pytest.fixture(scope="module", params=["plain", "compressed"])
def long_session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace with a session whose last line is repeated up to 1,000,000 lines."""
    home = sealed_sessions(tmp_path_factory.mktemp("long") / "home", 1)
    (folder,) = (path.parent for path in (home / "sessions").glob(f"*/{EVENTS}"))
    path = folder / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        for sequence in range(len(lines) + 1, N_EVENTS + 1):
            file.write(re.sub(rb'"sequence":\d+', b'"sequence":%d' % sequence, lines[-2]))
    if request.param == "compressed":
        with path.open("rb") as content, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(content, packed)
        path.unlink()
    return home, folder.name


def test_pages_of_1000000_events(benchmark, long_session, tmp_path, request):
    home, name = long_session
    with (
        serving(home, tmp_path) as server,
        closing(http.client.HTTPConnection(server.address, timeout=60)) as connection,
    ):

        def page(offset):
            return milliseconds(connection, f"/api/sessions/{name}/events?offset={offset}")

        connection.request("GET", "/healthz")
        connection.getresponse().read()
        before = server.process.memory_info().rss
        first = page(0)
        benchmark.pedantic(lambda: page(N_EVENTS - 100), rounds=20)
        again = page(0)
        growth = (server.process.memory_info().rss - before) / 2**20
    benchmark.extra_info["job"] = f"last page of 1,000,000 events, {request.node.callspec.id}"
    benchmark.extra_info["growth_mib"] = growth
    benchmark.extra_info["first page, ms"] = round(first)
    benchmark.extra_info["first page again, ms"] = round(again)
