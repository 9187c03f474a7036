"""Runs at an MLflow server, read through its REST interface 2.0 without MLflow, which takes seconds to be imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

from peak_trade.tracking.pending import RunEntry
from peak_trade.tracking.registry import EXPERIMENT, OF_MLFLOW, deleted_experiment, explaining

PAGE = 1_000
"""Runs of one answer."""
TIMEOUT_SECONDS = 120.0
"""Longest wait for an answer, as MLflow's own."""
_NO_ANSWER = "its answer is not one of MLflow's REST interface"


def search_runs(uri: str, filters: Sequence[str], order: Sequence[str], limit: int) -> Iterator[RunEntry]:
    """Yield the first `limit` runs of the project's experiment that match all filters; none without the experiment.

    Filters and order are written as for `mlflow.search_runs`. A server that asks for a login gets
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.

    Raises
    ------
    ConfigError
        If the server cannot be reached or rejects a request, or if the experiment was deleted.

    """
    with explaining(uri, requests.RequestException), requests.Session() as session:
        _log_in(session)
        found = _ask(session, uri, "GET", "experiments/get-by-name", params={"experiment_name": EXPERIMENT})
        if found is None:
            return
        try:
            experiment_id, stage = (found["experiment"][name] for name in ("experiment_id", "lifecycle_stage"))
        except (LookupError, TypeError):
            raise requests.HTTPError(_NO_ANSWER) from None
        if stage != "active":
            raise deleted_experiment(uri, experiment_id)
        asked: dict[str, Any] = {
            "experiment_ids": [experiment_id],
            "filter": " and ".join(filters),
            "order_by": list(order),
        }
        while limit > 0:
            asked["max_results"] = min(limit, PAGE)
            page = _ask(session, uri, "POST", "runs/search", json=asked) or {}
            entries = _entries(page)
            yield from entries
            limit -= len(entries)
            asked["page_token"] = page.get("next_page_token")
            if not asked["page_token"]:
                return


def _log_in(session: requests.Session) -> None:
    name, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if name:
        session.auth = (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    elif token:
        session.headers["Authorization"] = f"Bearer {token}"


def _ask(session: requests.Session, uri: str, method: str, name: str, **content: Any) -> dict[str, Any] | None:
    """Return the content of an answer; None for what the server does not have."""
    path = f"{uri.rstrip('/')}/api/2.0/mlflow/{name}"
    try:
        response = session.request(method, path, timeout=TIMEOUT_SECONDS, **content)
    except requests.Timeout:
        raise requests.Timeout(f"no answer within {TIMEOUT_SECONDS:g} seconds") from None
    except requests.ConnectionError:
        raise requests.ConnectionError("no connection to this server") from None
    return _answer(response)


def _answer(response: requests.Response) -> dict[str, Any] | None:
    try:
        content = response.json()
    except requests.JSONDecodeError:
        content = None
    if response.ok and isinstance(content, dict):
        return content
    if isinstance(content, dict) and content.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return None
    reason = content.get("message") if isinstance(content, dict) else None
    raise requests.HTTPError(reason or f"answered {response.status_code}, which is no answer of MLflow")


def _entries(page: Mapping[str, Any]) -> list[RunEntry]:
    try:
        return [_entry(run) for run in page.get("runs", [])]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise requests.HTTPError(_NO_ANSWER) from None


def _entry(run: Mapping[str, Any]) -> RunEntry:
    info, data = run["info"], run.get("data", {})
    tags, parameters, metrics = (
        {each["key"]: each["value"] for each in sorted(data.get(kind, []), key=lambda each: each["key"])}
        for kind in ("tags", "params", "metrics")
    )
    return RunEntry(
        info["run_id"],
        info["status"] == "FINISHED",
        int(info["start_time"]),
        {name: text for name, text in tags.items() if not name.startswith(OF_MLFLOW)},
        parameters,
        {name: float(value) for name, value in metrics.items()},
    )
