"""Read-only HTTP server of the built site, the recorded runs and the sessions of a workspace.

Nothing is written. A page may load and run only what it has itself: its Content-Security-Policy names the SHA-256 of
each of its inline scripts (W3C Content Security Policy Level 3, section 6.7.3).
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from html.parser import HTMLParser
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peak_trade.core.errors import ConfigError, PeakTradeError, ReportError, did_you_mean, one_line
from peak_trade.core.network import LOOPBACK, unopened
from peak_trade.core.time import parse_utc
from peak_trade.core.version import package_version
from peak_trade.data.workspace import workspace
from peak_trade.journal.codec import event_to_dict, read_line, spell_out
from peak_trade.journal.files import CHECKPOINTS, MANIFEST, LineIndex, events_path, journal_version
from peak_trade.journal.lock import is_open
from peak_trade.reports.project import SITE
from peak_trade.sessions.store import SessionSummary, SummaryReader, session_ids, sessions_folder, summary, unreadable
from peak_trade.tracking.entries import LATEST, RUN_TYPES
from peak_trade.tracking.queries import SORTABLE, find_run, page_runs, registry_state
from peak_trade.tracking.registry import is_database

MAX_LIMIT = 1_000
"""Largest number of rows of one answer; a larger limit is taken as this one."""
MAX_OFFSET = 2**53
METHODS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'{scripts}",
        "style-src 'self'{styles}",
        "style-src-attr{attributes}",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

Limit = Annotated[int, Query(description=f"Rows of the answer, from 1 to {MAX_LIMIT:,}; another number is clamped.")]
Offset = Annotated[int, Query(description="Rows to skip; a negative number is 0.")]
Moment = Annotated[
    str | None,
    Query(
        description="UTC date or time, like 2024-03-10 or 2024-03-10T01:00.",
        json_schema_extra={"anyOf": [{"type": "string", "format": each} for each in ("date", "date-time")]},
    ),
]
RunType = Annotated[str | None, Query(json_schema_extra={"anyOf": [{"enum": sorted(RUN_TYPES)}]})]
Sort = Annotated[
    str,
    Query(
        description="Column or measure; a minus sign puts the largest first.",
        json_schema_extra={"enum": [f"{sign}{name}" for name in SORTABLE for sign in ("", "-")]},
    ),
]


class Problem(BaseModel):
    """Why there is no other answer, in one sentence."""

    error: str


class Experiment(BaseModel):
    """A recorded run; `recorded_at` is UTC, and a metric that is not finite is null."""

    run_id: str
    run_type: str
    strategy: str
    symbol: str
    timeframe: str
    start: str
    end: str
    status: str
    recorded_at: datetime
    metrics: dict[str, float | None]


class Experiments(BaseModel):
    """Runs from the place `offset` on, and the number of all that match."""

    n_runs: int
    limit: int
    offset: int
    runs: list[Experiment]


class ExperimentContents(BaseModel):
    """Everything recorded of a run."""

    run_id: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float | None]


class Sessions(BaseModel):
    """Sessions from the place `offset` on, the last id first, and the number of all."""

    n_sessions: int
    limit: int
    offset: int
    sessions: list[SessionSummary]


class SessionEvent(BaseModel):
    """A line of a journal: its place and hash in the chain, the time of recording (ns UTC) and the event."""

    sequence: int
    ts_recorded: int
    hash: str
    event: dict[str, Any]


class SessionEvents(BaseModel):
    """Events from the place `offset` on, and the number of all complete lines."""

    session_id: str
    n_events: int
    limit: int
    offset: int
    events: list[SessionEvent]


class Health(BaseModel):
    """The server answers."""

    status: str
    version: str


def make_app(root: Path = Path(), address: str = LOOPBACK[0]) -> FastAPI:
    """Return the application that serves the site in `root/reports/site` and the workspace on an IP address.

    On a loopback address it answers only requests to a loopback name: the page of another site may reach the address
    by a name that it resolves itself, and reads what comes from this name.

    Raises
    ------
    ReportError
        If the site is not built.

    """
    index = root / SITE / "index.html"
    if not index.is_file():
        raise ReportError(f"{index}: there is no such file. Build the site with `peak-trade site build`.")
    app = FastAPI(
        title="peak_trade",
        version=package_version(),
        description="Recorded runs and sessions of a workspace, read-only.",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_check_names)],
    )
    routes: tuple[tuple[str, Callable[..., Response | Awaitable[Response]], type[BaseModel]], ...] = (
        ("/api/experiments", _experiments, Experiments),
        ("/api/experiments/{run_id}", _experiment, ExperimentContents),
        ("/api/sessions", _sessions, Sessions),
        ("/api/sessions/{session_id}/events", _events, SessionEvents),
        ("/healthz", _health, Health),
    )
    for path, endpoint, model in routes:
        codes = (404, 422, 500) if "{" in path else (422, 500)
        problems: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in codes}
        name = endpoint.__name__.removeprefix("_")
        app.add_api_route(path, endpoint, response_model=model, responses=problems, name=name)
    app.mount("/", _Site(directory=(root / SITE).resolve(), html=True))
    app.add_exception_handler(HTTPException, _explain)
    app.add_exception_handler(RequestValidationError, _explain)
    app.add_exception_handler(PeakTradeError, _explain)
    app.add_exception_handler(OSError, _explain)
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=1)
    if ip_address(address).is_loopback:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]", address])
    app.add_middleware(_Guard)
    return app


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. ConfigError if it cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not host.encode("idna"):  # of a name that can not be one, the socket raises a TypeError
            raise UnicodeError
        return socket.create_server((host, port), family=family, backlog=1_024)
    except (OSError, UnicodeError) as error:
        raise unopened(host, port, "--port", error) from None


def run_server(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C, which raises KeyboardInterrupt once open requests are answered."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listener])


class _Guard:
    """Answer GET and HEAD only, each file whole; give every answer the headers that it does not have.

    HEAD is GET without the content. An ETag is weak, because an answer has other bytes when it is compressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                del headers["Accept-Ranges"]
                if headers.get("ETag", "W/").startswith('"'):
                    headers["ETag"] = f"W/{headers['ETag']}"
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] not in METHODS:
            refusal = _problem(405, f"{scope['method']} is not answered here: the server only reads. Send GET or HEAD.")
            refusal.headers["Allow"] = ", ".join(METHODS)
            await refusal(scope, receive, send_guarded)
        else:
            ignored = {b"range"}
            if _REFUSES_GZIP.search(dict(scope["headers"]).get(b"accept-encoding", b"")):
                ignored.add(b"accept-encoding")  # the middleware reads the name of an encoding only
            headers = [(name, value) for name, value in scope["headers"] if name not in ignored]
            await self.app({**scope, "method": "GET", "headers": headers}, receive, send_guarded)


_REFUSES_GZIP = re.compile(rb"gzip\s*;\s*q=0(\.0*)?\s*(,|$)")


class _Site(StaticFiles):
    """The files of the site, without hidden ones, each page with its policy."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        is_hidden = any(part.startswith(".") for part in PurePath(path).parts)
        return ("", None) if is_hidden else super().lookup_path(path)

    def file_response(
        self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        if PurePath(full_path).suffix == ".html":
            policy = _policy_of(Path(full_path), stat_result.st_mtime_ns, stat_result.st_size)
            response.headers["Content-Security-Policy"] = policy
        return response


class _Inline(HTMLParser):
    """The inline scripts and styles, event handlers and style attributes of a page, as the browser hashes them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.handlers: list[str] = []
        self.style_attributes: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers += [value for name, value in attrs if name.startswith("on") and value]
        self.style_attributes += [value for name, value in attrs if name == "style" and value]
        self._inside = tag if tag in self.texts and "src" not in dict(attrs) else ""
        if self._inside:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


def content_policy(page: str) -> str:
    """Return the Content-Security-Policy of a page of HTML: what the site has, and inline parts by their hash.

    The hash of the empty style lets plotly.js make a style element, whose rules it adds later.
    """
    found = _Inline()
    found.feed(page.replace("\r\n", "\n"))
    found.close()
    scripts, styles = found.texts["script"], ["", *found.texts["style"]]
    return PAGE_POLICY.format(
        scripts=_hashes(scripts) + _hashes(found.handlers, "'unsafe-hashes'"),
        styles=_hashes(styles),
        attributes=_hashes(found.style_attributes, "'unsafe-hashes'") or " 'none'",
    )


def _hashes(texts: Iterable[str], *words: str) -> str:
    """Return the sources that allow these texts, each after a space; none without texts."""
    hashes = dict.fromkeys(b64encode(sha256(text.encode()).digest()).decode() for text in texts)
    return "".join(f" {source}" for source in (*words, *(f"'sha256-{each}'" for each in hashes)) if hashes)


@lru_cache(maxsize=1_000)
def _policy_of(path: Path, changed: int, size: int) -> str:
    return content_policy(path.read_text(encoding="utf-8"))


async def _check_names(request: Request) -> None:
    """Refuse a parameter that the route does not have, or that is given twice."""
    route = request.scope["route"]
    known = [each.alias for each in route.dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise HTTPException(422, f"{name} is not a parameter of {route.path}. {did_you_mean(name, known)}")
        if given.count(name) > 1:
            raise HTTPException(422, f"{name} was given {given.count(name)} times: give it once.")


def _one_of(name: str, value: str, known: Collection[str], given: str | None = None) -> None:
    if value not in known:
        raise HTTPException(422, f"{name} was {given or value!r}. {did_you_mean(value, known)}")


def _moment(name: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_utc(text, name)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from None


def _page(limit: int, offset: int) -> dict[str, int]:
    return {"limit": min(max(limit, 1), MAX_LIMIT), "offset": min(max(offset, 0), MAX_OFFSET)}


def _experiments(
    request: Request,
    limit: Limit = 100,
    offset: Offset = 0,
    run_type: RunType = None,
    symbol: str | None = None,
    strategy: str | None = None,
    since: Moment = None,
    until: Moment = None,
    sort: Sort = LATEST,
) -> Response:
    """List the recorded runs that match every filter; since <= time of recording < until."""
    if run_type is not None:
        _one_of("run_type", run_type, RUN_TYPES)
    _one_of("sort", sort.removeprefix("-"), SORTABLE)
    filters = {"run_type": run_type, "symbol": symbol, "strategy": strategy}
    asked = _page(limit, offset)
    query = (filters, _moment("since", since), _moment("until", until), sort, asked["offset"], asked["limit"])
    texts = _texts_in(registry_state()) if is_database() else {}
    found = page_runs(*query, known=texts)
    for key, run in found.runs.items():
        if run is not None:
            moment, metrics = run["recorded_at"].isoformat(), _finite(run["metrics"])
            texts[key] = _encoded(run | {"recorded_at": moment, "metrics": metrics})
    head = _encoded({"n_runs": found.n_runs, **asked})[:-1]
    return _answer(request, head + b',"runs":[' + b",".join(texts[key] for key in found.runs) + b"]}")


@lru_cache(maxsize=1)
def _texts_in(state: tuple[Any, ...]) -> dict[str, bytes]:
    """Return the JSON of runs that were asked for in a state of the registry, by the key of the run: 1 kB each."""
    return {}


def _experiment(request: Request, run_id: str) -> Response:
    """Show everything recorded of one run, by its whole id."""
    found = find_run(run_id)
    if found is None:
        raise HTTPException(404, f"run {run_id} is not recorded. The list of runs is at /api/experiments.")
    content = {"tags": found["tag"], "parameters": found["parameter"], "metrics": _finite(found["metric"])}
    return _answer(request, _encoded({"run_id": run_id, **content}))


def _sessions(request: Request, limit: Limit = 100, offset: Offset = 0) -> Response:
    """List the sessions, the last id first; times are ns UTC, and 0 when there is none."""
    known, asked = session_ids()[::-1], _page(limit, offset)
    names = known[asked["offset"] :][: asked["limit"]]
    sessions = [asdict(_summary(name)) for name in names]
    return _answer(request, _encoded({"n_sessions": len(known), **asked, "sessions": sessions}))


def _events(request: Request, session_id: str, limit: Limit = 100, offset: Offset = 0) -> Response:
    """List the events of a session in order, by its whole id."""
    known = session_ids()
    if session_id not in known:
        raise HTTPException(404, f"there is no session {session_id}. {did_you_mean(session_id, known)}")
    folder, asked = sessions_folder() / session_id, _page(limit, offset)
    path, format_version = events_path(folder), journal_version(folder)
    n_events, page = _lines_of(path).page(asked["offset"], asked["limit"])
    events = []
    for place, text in enumerate(page, start=asked["offset"] + 1):
        line = read_line(text, f"{path}:{place}", format_version)
        parts = {"sequence": line.sequence, "ts_recorded": line.ts_recorded, "hash": line.hash}
        events.append({**parts, "event": spell_out(event_to_dict(line.event))})
    return _answer(request, _encoded({"session_id": session_id, "n_events": n_events, **asked, "events": events}))


@lru_cache(maxsize=16)
def _lines_of(path: Path) -> LineIndex:
    return LineIndex(path)


async def _health(request: Request) -> Response:
    """Say that the server answers."""
    return _answer(request, _encoded({"status": "ok", "version": package_version()}))


def _summary(name: str) -> SessionSummary:
    """Return the summary of a session, or one with the reason why it is unreadable."""
    folder = sessions_folder() / name
    try:
        files = (folder / MANIFEST, events_path(folder), folder / CHECKPOINTS)
        stats = [path.stat() for path in files if path.exists()]
        states = tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
        with _SUMMARIES:  # many readers wait for one reading of a long journal
            return _summary_of(folder, states, is_open(folder))
    except (PeakTradeError, OSError) as error:
        return unreadable(name, _without_folder(str(error)))


_SUMMARIES = threading.Lock()


@lru_cache(maxsize=1_000)
def _summary_of(folder: Path, states: tuple[tuple[int, int, int], ...], is_running: bool) -> SessionSummary:
    """Return the summary of a session in a state of its files; of one that runs, only the new lines are read."""
    return _summary_reader(folder).read() if is_running else summary(folder)


@lru_cache(maxsize=16)
def _summary_reader(folder: Path) -> SummaryReader:
    return SummaryReader(folder)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _encoded(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _answer(request: Request, body: bytes) -> Response:
    """Return JSON with its ETag, or 304 without content when the reader has it."""
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    held = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    headers = {"ETag": etag}
    if etag in held or "*" in held:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _explain(request: Request, error: Exception) -> Response:
    """Return the one sentence of an error; a fault of the workspace is status 500."""
    if isinstance(error, HTTPException):
        is_page = error.status_code == 404 and error.detail == "Not Found"
        return _problem(error.status_code, "there is nothing at this address." if is_page else error.detail)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return _problem(422, f"{first['loc'][-1]} was {first.get('input')!r}: {first['msg'].lower()}.")
    return _problem(500, _without_folder(str(error)))


def _without_folder(text: str) -> str:
    return text.replace(f"{workspace()}/", "")


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": one_line(text)}, status)
