"""Cost of the exporter: time per line of a journal and per scrape, and its part of the CPU time of a session."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.test_journal import CONFIG, PACE, run
from peak_trade.journal.files import read_content
from peak_trade.observability import exporter as exporters
from peak_trade.observability.exporter import Exporter

SCRAPE_SECONDS = 15.0
N_BARS = 600


@pytest.fixture(autouse=True)
def _with_the_configuration_in_every_manifest(monkeypatch):
    """The sessions of the journal's benchmark have a manifest without a configuration; the exporter needs one."""
    manifest = {"config": CONFIG.model_dump(mode="json")}
    read = exporters.read_manifest
    monkeypatch.setattr(exporters, "read_manifest", lambda folder: manifest | read(folder))


class Scraper:
    """Scrapes an exporter as Prometheus does, in the process of the session, and measures the CPU time of it."""

    def __init__(self, folder: Path) -> None:
        self._registry = CollectorRegistry(support_collectors_without_names=True)
        self._registry.register(Exporter([folder]))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.cpu_seconds: list[float] = []

    def scrape(self) -> None:
        """Scrape once."""
        started = time.thread_time()
        generate_latest(self._registry)
        self.cpu_seconds.append(time.thread_time() - started)

    def _run(self) -> None:
        while not self._is_over.wait(SCRAPE_SECONDS):
            self.scrape()

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.scrape()


def test_exporter_of_a_session_at_full_speed(benchmark, tmp_path):
    """Every line of a session with gates that runs as fast as it can: what is read, verified and counted."""
    cpu = min(run(tmp_path / f"s{n}", N_BARS, None, is_recorded=True)[1] for n in range(3))
    n_lines = read_content(tmp_path / "s0").count(b"\n")
    costs: list[float] = []

    def follow() -> None:
        started = time.process_time()
        list(Exporter([tmp_path / "s0"]).collect())
        costs.append(time.process_time() - started)

    benchmark.pedantic(follow, rounds=9, warmup_rounds=1)
    seconds = statistics.median(costs)
    benchmark.extra_info |= {
        "seconds": seconds,
        "lines": n_lines,
        "µs per line": round(seconds / n_lines * 1e6, 1),
        "fraction of the session's CPU time": f"{seconds / cpu:.1%}",
    }


def test_exporter_of_a_paced_minute(benchmark, tmp_path):
    """Sixty minute bars at 60x with gates enabled, scraped every 15 s in the process of the session."""
    found: list[tuple[float, float, list[float]]] = []

    def paced() -> None:
        with Scraper(tmp_path / "s") as scraper:
            wall, cpu = run(tmp_path / "s", 61, PACE, is_recorded=True)
        found.append((wall, cpu, scraper.cpu_seconds))

    benchmark.pedantic(paced, rounds=1)
    ((wall, cpu, scrapes),) = found
    benchmark.extra_info |= {
        "seconds": sum(scrapes),
        "cpu_seconds": sum(scrapes),
        "scrapes": len(scrapes),
        "ms of CPU per scrape": round(statistics.median(scrapes) * 1e3, 2),
        "CPU of the session without the exporter": round(cpu - sum(scrapes), 3),
        "fraction of one processor": f"{sum(scrapes) / wall:.3%}",
        "fraction of the CPU of the session's process": f"{sum(scrapes) / cpu:.1%}",
        "bars": [["under 1 % of one processor", sum(scrapes) < 0.01 * wall]],
    }
