"""The server answers as its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from peak_trade.sessions.store import session_ids
from tests.reports.test_server import Client, ask, recorded, two_sessions  # noqa: F401

AS_DOCUMENTED, OTHERWISE = "POSITIVE", "NEGATIVE"
ASKED = [
    ("/healthz", AS_DOCUMENTED),
    ("/api/experiments/{run_id}", AS_DOCUMENTED),
    *((path, mode)
      for path in ("/api/experiments", "/api/sessions", "/api/sessions/{session_id}/events")
      for mode in (AS_DOCUMENTED, OTHERWISE)),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(
    ask: Client,  # noqa: F811
    recorded: Path,  # noqa: F811
    two_sessions: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:
    """A server whose workspace has runs and sessions."""
    home = tmp_path_factory.mktemp("documented") / "home"
    shutil.copytree(recorded, home)
    shutil.copytree(two_sessions / "sessions", home / "sessions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield ask


@pytest.fixture(scope="module")
def document(served: Client) -> Any:
    """The document of the server, as schemathesis reads it."""
    import schemathesis

    return schemathesis.openapi.from_dict(served("/openapi.json").content)


def check(document: Any, port: int, path: str, mode: str, data: st.DataObject) -> None:
    """Ask something that the document allows, or something that it does not allow, and compare the answer with it."""
    from schemathesis import GenerationMode

    case = data.draw(document[path]["GET"].as_strategy(generation_mode=GenerationMode[mode]))
    known = {"run_id": ["run3"], "session_id": session_ids()}
    if mode is AS_DOCUMENTED and case.path_parameters and data.draw(st.booleans(), label="known"):
        case.path_parameters = {name: data.draw(st.sampled_from(known[name])) for name in case.path_parameters}
    case.call_and_validate(base_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("path", "request_of", "status"),
    [
        ("/healthz", "/healthz", 200),
        ("/api/experiments", "/api/experiments?sort=sharpe&limit=2", 200),
        ("/api/experiments", "/api/experiments?limit=many", 422),
        ("/api/experiments/{run_id}", "/api/experiments/run3", 200),
        ("/api/experiments/{run_id}", "/api/experiments/run9", 404),
        ("/api/sessions", "/api/sessions", 200),
        ("/api/sessions/{session_id}/events", "/api/sessions/{session_id}/events", 200),
        ("/api/sessions/{session_id}/events", "/api/sessions/{session_id}/events?limit=none", 422),
    ],
)
def test_an_answer_has_the_form_of_its_status_in_the_document(served, path, request_of, status):
    document = served("/openapi.json").content
    answer = served(request_of.format(session_id=session_ids()[0]))
    assert answer.status == status
    schema = document["paths"][path]["get"]["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer.content)


@pytest.mark.long
@pytest.mark.parametrize(("path", "mode"), ASKED)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_answers_are_the_documented_ones(document, ask, path, mode, data):  # noqa: F811
    check(document, ask.port, path, mode, data)
