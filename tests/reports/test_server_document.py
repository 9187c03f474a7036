"""The server answers as its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from peak_trade.sessions.store import session_ids
from tests.examples import examples
from tests.reports.test_server import Client, ask, recorded, two_sessions  # noqa: F401

AS_DOCUMENTED, OTHERWISE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
ASKED = [
    ("/healthz", AS_DOCUMENTED),
    ("/api/experiments/{run_id}", AS_DOCUMENTED),
    *((path, mode)
      for path in ("/api/experiments", "/api/sessions", "/api/sessions/{session_id}/events")
      for mode in (AS_DOCUMENTED, OTHERWISE)),
]  # fmt: skip


@pytest.fixture(scope="module")
def document(
    ask: Client,  # noqa: F811
    recorded: Path,  # noqa: F811
    two_sessions: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """The document of a server whose workspace has runs and sessions."""
    home = tmp_path_factory.mktemp("documented") / "home"
    shutil.copytree(recorded, home)
    shutil.copytree(two_sessions / "sessions", home / "sessions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield schemathesis.openapi.from_dict(ask("/openapi.json").content)


def check(document: Any, port: int, path: str, mode: GenerationMode, data: st.DataObject) -> None:
    """Ask something that the document allows, or something that it does not allow, and compare the answer with it."""
    case = data.draw(document[path]["GET"].as_strategy(generation_mode=mode))
    known = {"run_id": ["run3"], "session_id": session_ids()}
    if mode is AS_DOCUMENTED and case.path_parameters and data.draw(st.booleans(), label="known"):
        case.path_parameters = {name: data.draw(st.sampled_from(known[name])) for name in case.path_parameters}
    case.call_and_validate(base_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(("path", "mode"), ASKED)
@settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_answer_is_the_documented_one(document, ask, path, mode, data):  # noqa: F811
    check(document, ask.port, path, mode, data)


@pytest.mark.long
@pytest.mark.parametrize(("path", "mode"), ASKED)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_answers_are_the_documented_ones(document, ask, path, mode, data):  # noqa: F811
    check(document, ask.port, path, mode, data)
