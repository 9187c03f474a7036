"""Runs at a server that is read through its REST interface; `test_postgresql.py` compares it with MLflow's client."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.tracking import list_runs
from peak_trade.tracking.entries import Query, find_entries

EXPERIMENT = {"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}}


def run_at_server(name: str, place: int) -> dict[str, Any]:
    tags = {"run_id": name, "run_type": "backtest", "mlflow.user": "someone", "strategy": "ma_crossover"}
    return {
        "info": {"run_id": f"server-{name}", "status": "FINISHED" if place else "RUNNING", "start_time": 1_000 - place},
        "data": {
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "metrics": [{"key": "sharpe", "value": "NaN"}, {"key": "n_fills", "value": place}],
        },
    }


class Server(BaseHTTPRequestHandler):
    """Answers what `answers` has for a path, a list one after the other, and records the requests."""

    answers: dict[str, Any]
    asked: list[tuple[str, Any, str | None]]

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, content: Any) -> None:
        name = self.path.removeprefix("/api/2.0/mlflow/")
        self.asked.append((name, content, self.headers.get("Authorization")))
        code, text = self.answers[name].pop(0) if len(self.answers[name]) > 1 else self.answers[name][0]
        body = (text if isinstance(text, str) else json.dumps(text)).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"asked": []})
    handler.answers = {
        "experiments/get-by-name?experiment_name=peak_trade": [(200, EXPERIMENT)],
        "runs/search": [(200, {"runs": [run_at_server("aa11", 0), run_at_server("bb22", 1)]})],
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{opened.server_port}")
        yield handler
        opened.shutdown()


def test_runs_are_read_with_the_filters_of_the_list_and_without_the_tags_of_mlflow(server):
    runs = list_runs(run_type="backtest", symbol="BTC/USDT")
    assert runs["run_id"].tolist() == ["aa11", "bb22"]
    assert runs["status"].tolist() == ["unfinished", "done"]
    (_, search) = server.asked
    assert search[1]["filter"] == "tags.run_type = 'backtest' and tags.symbol = 'BTC/USDT'"
    assert search[1]["order_by"] == ["attributes.start_time DESC"]
    (first, second) = find_entries(Query(), 2)
    assert (first.mlflow_id, first.recorded_at, second.metrics["n_fills"]) == ("server-aa11", 1_000, 1.0)
    assert math.isnan(first.metrics["sharpe"])
    assert "mlflow.user" not in first.tags


def test_every_page_is_asked_for_until_the_limit(server):
    pages = [{"runs": [run_at_server(f"{n:04}", n)], "next_page_token": f"after-{n}"} for n in range(3)]
    server.answers["runs/search"] = [(200, page) for page in pages]
    assert [entry.run_id for entry in find_entries(Query(), 2)] == ["0000", "0001"]
    assert [(content.get("page_token"), content["max_results"]) for _, content, _ in server.asked[1:]] == [
        (None, 2),
        ("after-0", 1),
    ]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "abc"}, "Bearer abc"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "x"}, "Basic bWU6eA=="),
    ],
)
def test_the_login_of_the_environment_is_sent(variables, expected, server, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    list_runs()
    assert {login for _, _, login in server.asked} == {expected}


def test_a_server_without_the_experiment_has_no_runs_and_gets_none(server):
    missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Could not find experiment"}
    server.answers["experiments/get-by-name?experiment_name=peak_trade"] = [(404, missing)]
    assert list_runs().empty
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("code", "answer", "message"),
    [
        (200, {"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}, "the experiment peak_trade was"),
        (401, "You are not authenticated.", "answered 401, which is no answer of MLflow"),
        (403, {"error_code": "PERMISSION_DENIED", "message": "Permission denied."}, "Permission denied"),
        (200, "<html>a page</html>", "answered 200, which is no answer of MLflow"),
        (200, {"status": "ok"}, "its answer is not one of MLflow's"),
        (200, {"experiment": None}, "its answer is not one of MLflow's"),
    ],
)
def test_an_answer_that_is_no_list_of_runs_is_one_line(code, answer, message, server, capsys):
    server.answers["experiments/get-by-name?experiment_name=peak_trade"] = [(code, answer)]
    with pytest.raises(ConfigError, match=message):
        list_runs()
    assert main(["runs", "list"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("peak-trade: run registry http://127.0.0.1:")


@pytest.mark.parametrize("runs", [[{}], {"a": 1}, 7, [{"info": {"run_id": "a", "status": "", "start_time": "x"}}]])
def test_runs_of_another_form_are_one_line(runs, server):
    server.answers["runs/search"] = [(200, {"runs": runs})]
    with pytest.raises(ConfigError, match="its answer is not one of MLflow's"):
        list_runs()


def test_a_list_at_a_server_needs_no_mlflow(server, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["runs", "list"]) == 0
    assert "bb22" in capsys.readouterr().out
