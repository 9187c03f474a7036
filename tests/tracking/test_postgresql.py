"""Two processes record runs at an MLflow server whose database is PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.tracking import entries, list_runs, record_run
from peak_trade.tracking.entries import Query, find_entries
from peak_trade.tracking.queries import read_run
from tests.tracking.test_registry import run_of

ROOT = Path(__file__).parents[2]
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=Path("/"))
"""Where Debian has the newest PostgreSQL; `initdb` and `postgres` are not on PATH there."""
AS_OWNER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
"""PostgreSQL refuses to run as root."""
PASSWORD = "secret"
WAIT_SECONDS = 300.0

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (PROGRAMS / "initdb").exists(), reason="PostgreSQL is missing: apt-get install postgresql"),
    pytest.mark.skipif(find_spec("psycopg") is None, reason="psycopg is missing: it is in peak_trade[dev]"),
]

WRITER = """
import sys
from pathlib import Path
from peak_trade.tracking import record_run
from tests.tracking.test_registry import run_of
for run_id in sys.argv[2:]:
    record_run(run_of(run_id, artifacts=(Path(sys.argv[1]),)))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def called(*command: object) -> None:
    subprocess.run([*AS_OWNER, *map(str, command)], check=True, capture_output=True, cwd="/", timeout=WAIT_SECONDS)


@contextmanager
def running(command: list[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
            process.wait(WAIT_SECONDS)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URI of an MLflow server on PostgreSQL, both on free ports of this machine."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if AS_OWNER:
            shutil.chown(folder, "postgres")
        folder.chmod(0o755)
        (folder / "password").write_text(PASSWORD)
        database, port, ours = folder / "database", free_port(), folder / "ours"
        ours.mkdir()
        options = ["-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"]
        called(PROGRAMS / "initdb", "-D", database, *options)
        words = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        called(PROGRAMS / "pg_ctl", "start", "-w", "-D", database, "-l", folder / "log", "-o", words)
        stack.callback(called, PROGRAMS / "pg_ctl", "stop", "-m", "immediate", "-D", database)
        uri = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", uri.rpartition(":")[2], "--artifacts-destination", str(ours / "files")]
        command += ["--backend-store-uri", f"postgresql+psycopg://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres"]
        quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = stack.enter_context(running(command, ours / "server.log", cwd=ours, env=quiet))
        end = time.monotonic() + WAIT_SECONDS
        while not is_up(uri):
            assert process.poll() is None, (ours / "server.log").read_text()
            assert time.monotonic() < end, (ours / "server.log").read_text()
            time.sleep(0.2)
        yield uri


def is_up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=WAIT_SECONDS):
            return True
    except OSError:
        return False


def test_two_processes_record_at_one_server(server, home, tmp_path, monkeypatch, capsys):
    """Each records runs of its own and some that the other one records at the same time."""
    table = tmp_path / "table.csv"
    table.write_text("a\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    both = [f"both{n}" for n in range(4)]
    writers = []
    for name in "ab":
        environment = os.environ | {"PEAK_TRADE_HOME": str(tmp_path / name)}
        command = [sys.executable, "-W", "ignore", "-c", WRITER, str(table), *both, f"{name}0", f"{name}1"]
        writers.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    said = [writer.communicate(timeout=WAIT_SECONDS)[0].decode() for writer in writers]
    assert said == ["", ""]
    runs = list_runs()
    assert sorted(runs["run_id"]) == ["a0", "a1", "b0", "b1", *both]
    assert set(runs["status"]) == {"done"}
    assert read_run("both0").files == {"table.csv": b"a\n"}
    assert main(["runs", "list", "--symbol", "ETH/USDT"]) == 0
    assert not (home / "unsent").exists()


def test_runs_read_without_mlflow_are_those_that_it_gives(server, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    for n in range(4):
        symbol, metrics = ("ETH/USDT", {"sharpe": n / 3.0}) if n % 2 else ("SOL/USDT", {})
        record_run(run_of(f"ee{n}", symbol=symbol, metrics=metrics))
    queries = [
        Query(),
        Query((("symbol", "ETH/USDT"),)),
        Query(prefix="ee", sort="-sharpe"),
        Query(prefix="ee", sort="symbol"),
        Query((("symbol", "DOGE/USDT"),)),
    ]
    ours = [find_entries(query, 3) for query in queries]
    monkeypatch.setattr(entries, "has_rest", lambda _uri: False)
    theirs = [find_entries(query, 3) for query in queries]
    assert ours == theirs
    assert [len(found) for found in ours] == [3, 2, 3, 3, 0]
