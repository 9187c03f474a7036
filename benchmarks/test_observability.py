"""Cost of the exporter: time per line of a journal and per scrape, and its part of the CPU time of a session."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from benchmarks.test_journal import PACE, run
from peak_trade.journal.files import read_content
from peak_trade.observability.exporter import Exporter
from peak_trade.observability.server import serving

SCRAPE_SECONDS = 15.0
N_BARS = 3_000


CLIENT = """
import socket, sys, time

port, seconds = int(sys.argv[1]), float(sys.argv[2])
request = (
    f"GET /metrics HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nUser-Agent: Prometheus/2.42.0\\r\\n"
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\\r\\n"
    "Accept-Encoding: gzip\\r\\nX-Prometheus-Scrape-Timeout-Seconds: 10\\r\\n\\r\\n"
).encode()
while True:
    time.sleep(seconds)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        size = 0
        while read := connection.recv(1 << 16):
            size += len(read)
    print(size, flush=True)
"""
"""A process that scrapes as Prometheus does, and prints the size of each answer."""


class Scraped:
    """What a block of code costs in the thread of the server, whose scrapes another process makes."""

    def __init__(self, text: Callable[[], bytes]) -> None:
        self._serving = serving(text, "127.0.0.1", 0, "")
        self.cpu_seconds = 0.0
        self.sizes: list[int] = []

    def __enter__(self) -> Scraped:
        port = self._serving.__enter__()
        command = [sys.executable, "-c", CLIENT, str(port), str(SCRAPE_SECONDS)]
        self._client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = next(each for each in threading.enumerate() if each.name == "metrics")
        self._started = self._cpu()
        return self

    def _cpu(self) -> float:
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident or 0))

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = self._cpu() - self._started
        self._client.terminate()
        self.sizes = [int(line) for line in self._client.communicate()[0].split()]
        self._serving.__exit__(None, None, None)


def test_exporter_of_a_session_at_full_speed(benchmark, tmp_path):
    """Every line of a session with gates that runs as fast as it can: what is read, verified and counted."""
    cpu = min(run(tmp_path / f"s{n}", N_BARS, None, is_recorded=True)[1] for n in range(3))
    n_lines = read_content(tmp_path / "s0").count(b"\n")
    costs: list[float] = []

    def follow() -> None:
        started = time.process_time()
        Exporter([tmp_path / "s0"]).text()
        costs.append(time.process_time() - started)

    benchmark.pedantic(follow, rounds=9, warmup_rounds=1)
    seconds = min(costs)
    benchmark.extra_info |= {
        "seconds": seconds,
        "lines": n_lines,
        "µs per line": round(seconds / n_lines * 1e6, 1),
        "fraction of the session's CPU time": f"{seconds / cpu:.2%}",
        "bars": [["under 1 % of the session's CPU time", seconds < 0.01 * cpu]],
    }


@pytest.mark.parametrize("is_empty", [False, True], ids=["metrics", "empty-answers"])
def test_exporter_of_a_paced_minute(benchmark, tmp_path, is_empty):
    """Sixty minute bars at 60x with gates enabled, scraped every 15 s over HTTP in the process of the session.

    The server with empty answers shows what no exporter can save.
    """
    run(tmp_path / "warm", 61, None, is_recorded=True)
    found: list[tuple[float, float, Scraped]] = []

    def paced() -> None:
        with Scraped(bytes if is_empty else Exporter([tmp_path / "s"]).text) as scraped:
            wall, cpu = run(tmp_path / "s", 61, PACE, is_recorded=True)
        found.append((wall, cpu, scraped))

    benchmark.pedantic(paced, rounds=1)
    ((wall, cpu, scraped),) = found
    seconds, n_scrapes = scraped.cpu_seconds, len(scraped.sizes)
    benchmark.extra_info |= {
        "seconds": seconds,
        "cpu_seconds": seconds,
        "scrapes": n_scrapes,
        "bytes of an answer": max(scraped.sizes),
        "ms of CPU per scrape": round(seconds / n_scrapes * 1e3, 3),
        "CPU of the session without the exporter": round(cpu - seconds, 3),
        "fraction of one processor": f"{seconds / wall:.4%}",
        "fraction of the CPU of the session's process": f"{seconds / cpu:.2%}",
        "bars": [["under 1 % of the CPU of the session's process", seconds < 0.01 * cpu]],
    }
