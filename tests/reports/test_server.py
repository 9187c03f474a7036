"""The server reads the site, the runs and the sessions of a workspace, and does nothing else."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from starlette.types import Message

from peak_trade.cli import main
from peak_trade.journal.files import EVENTS, MANIFEST, read_events
from peak_trade.sessions.store import session_ids, sessions_folder
from peak_trade.site import server
from peak_trade.site.build import build_site
from peak_trade.site.server import Experiments, SessionEvents, Sessions, content_policy, make_app
from peak_trade.tracking import DIGEST_NAMES, RunRecord, list_runs, record_run
from peak_trade.tracking.queries import SORTABLE
from peak_trade.tracking.record import sync_runs
from tests.examples import mostly_long
from tests.sessions.running import sealed_sessions

SCRIPT = 'let a = "<b>";\n// é\n'
STYLE = 'p > b { content: "<i>" }\n'
PAGE = f"""<html><head><script src="page.js"></script><script>{SCRIPT}</script><style>{STYLE}</style></head>
<body onload="start(&quot;x&quot;)"><p style="color: &#114;ed">{"words " * 400}</p><p style="color: red"></body>"""
SECRET = "SECRET-OUTSIDE"
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on PATH")


class Reply:
    """A response as it came over the wire."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends requests as they are: nothing in a path is normalised."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, method: str = "GET", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            return Reply(connection.getresponse())
        finally:
            connection.close()


@contextmanager
def serving(root: Path) -> Iterator[int]:
    """The port of a server on loopback, in a thread."""
    listener = server.open_socket("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(make_app(root), log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server on loopback of a site with a page, a hidden file, a link to the outside and a secret next to it."""
    root = tmp_path_factory.mktemp("served")
    site = root / "reports" / "site"
    (site / "docs").mkdir(parents=True)
    (site / "index.html").write_text(PAGE, encoding="utf-8")
    (site / "docs" / "index.html").write_text("<p>docs</p>")
    (site / "page.js").write_text("start()")
    (site / ".built.json").write_text(SECRET)
    (root / "reports" / "secret.txt").write_text(SECRET)
    (root / "reports" / "site-secret").mkdir()
    (root / "reports" / "site-secret" / "index.html").write_text(SECRET)
    (site / "link.txt").symlink_to(root / "reports" / "secret.txt")
    with serving(root) as port:
        yield Client(port)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Path:
    """A workspace with six runs: two types, two symbols, and Sharpe ratios of which one is missing."""
    folder = tmp_path_factory.mktemp("recorded") / "home"
    folder.mkdir()
    shutil.copy(empty_registry, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for n, sharpe in enumerate((0.5, 2.0, None, 0.0, -1.0, 1.5)):
            record_run(
                RunRecord(
                    run_id=f"run{n}",
                    run_type="backtest" if n % 2 else "sweep",
                    strategy="ma_crossover" if n < 4 else "donchian",
                    symbol="BTC/USDT" if n < 3 else "ETH/USDT",
                    timeframe="1h",
                    start="2024-01-01 01:00:00Z",
                    end="2024-06-30 00:00:00Z",
                    digests=dict.fromkeys(DIGEST_NAMES, "d1"),
                    parameters={"fast": n},
                    metrics={} if sharpe is None else {"sharpe": sharpe},
                )
            )
    return folder


@pytest.fixture
def runs(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEAK_TRADE_HOME", str(recorded))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return recorded


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_sessions(tmp_path_factory.mktemp("sessions") / "home", 2)


@pytest.fixture
def sessions(two_sessions: Path, home: Path) -> list[str]:
    shutil.copytree(two_sessions, home)
    return session_ids()


def ids(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    Experiments.model_validate(reply.content, strict=False)
    return [run["run_id"] for run in reply.content["runs"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    mostly_long(
        [
            ("", [5, 4, 3, 2, 1, 0]),
            ("?run_type=backtest", [5, 3, 1]),
            ("?symbol=BTC%2FUSDT", [2, 1, 0]),
            ("?strategy=donchian", [5, 4]),
            ("?run_type=sweep&symbol=ETH/USDT&strategy=donchian", [4]),
            ("?symbol=%27%20OR%201%3D1--", []),
            ("?since=2999-01-01", []),
            ("?until=2999-01-01T00:00", [5, 4, 3, 2, 1, 0]),
            ("?until=1999-01-01", []),
            ("?sort=-sharpe", [1, 5, 0, 3, 4, 2]),
            ("?sort=sharpe", [4, 3, 0, 5, 1, 2]),
            ("?sort=recorded_at", [0, 1, 2, 3, 4, 5]),
            ("?sort=-run_id", [5, 4, 3, 2, 1, 0]),
            ("?sort=symbol", [2, 1, 0, 5, 4, 3]),
        ],
        8,
    ),
)
def test_runs_are_filtered_and_sorted(ask, runs, query, expected):
    reply = ask(f"/api/experiments{query}")
    assert ids(reply) == [f"run{n}" for n in expected]
    assert reply.content["n_runs"] == len(expected)


@pytest.mark.parametrize("sort", ["", "&sort=-sharpe", "&sort=run_type"])
def test_the_pages_of_a_list_are_the_list(ask, runs, sort):
    whole = ids(ask(f"/api/experiments?limit=6{sort}"))
    paged = [ids(ask(f"/api/experiments?limit=2&offset={offset}{sort}")) for offset in (0, 2, 4, 6)]
    assert [run for page in paged for run in page] == whole
    assert paged[-1] == []


def test_since_and_until_part_the_runs(ask, runs):
    moment = list_runs()["recorded_at"].iloc[2]
    text = quote(moment.isoformat())
    later, earlier = (ids(ask(f"/api/experiments?{name}={text}")) for name in ("since", "until"))
    assert "run3" in later
    assert later + earlier == ids(ask("/api/experiments"))


@pytest.mark.parametrize(("given", "limit"), [("0", 1), ("-5", 1), ("5000", 1_000), ("9" * 40, 1_000), ("7", 7)])
def test_a_limit_is_clamped(ask, runs, given, limit):
    for path in ("/api/experiments", "/api/sessions"):
        reply = ask(f"{path}?limit={given}&offset=-5")
        assert (reply.status, reply.content["limit"], reply.content["offset"]) == (200, limit, 0)
        assert ask(f"{path}?offset={'9' * 40}").content["offset"] == server.MAX_OFFSET


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/experiments?limt=5", ["limt is not a parameter", "Did you mean limit?"]),
        ("/api/experiments?<script>=5", ["is not a parameter"]),
        ("/api/experiments?limit=1&limit=2", ["limit was given 2 times"]),
        ("/api/experiments?limit=many", ["limit was 'many'"]),
        ("/api/experiments?limit=" + "9" * 6_000, ["limit was '999"]),
        ("/api/experiments?run_type=backtst", ["run_type was 'backtst'", "Did you mean backtest?"]),
        ("/api/experiments?sort=-sharp", ["sort was", "Did you mean sharpe?"]),
        ("/api/experiments?since=yesterday", ["since was 'yesterday'", "2024-03-10"]),
        ("/api/sessions?kind=bar", ["kind is not a parameter"]),
        ("/healthz?verbose=1", ["verbose is not a parameter"]),
    ],
)
def test_a_bad_parameter_is_refused_in_one_sentence(ask, runs, path, words):
    reply = ask(path)
    assert (reply.status, list(reply.content)) == (422, ["error"])
    assert "\n" not in reply.content["error"]
    assert len(reply.content["error"]) < 600
    assert [word for word in words if word not in reply.content["error"]] == []


@pytest.mark.long
def test_every_name_to_sort_by_is_answered(ask, runs):
    assert {ask(f"/api/experiments?sort={name}").status for name in SORTABLE} == {200}


def test_a_run_is_shown_by_its_whole_id(ask, runs):
    shown = ask("/api/experiments/run3").content
    assert (shown["tags"]["symbol"], shown["parameters"]["fast"], shown["metrics"]) == (
        "ETH/USDT",
        "3",
        {"sharpe": 0.0},
    )
    for unknown in ("run", "run33", "..", "%2e%2e", "%27"):
        assert ask(f"/api/experiments/{unknown}").status == 404


def test_an_empty_workspace_has_empty_lists(ask, home):
    assert ask("/api/experiments").content == {"n_runs": 0, "limit": 100, "offset": 0, "runs": []}
    assert ask("/api/sessions").content == {"n_sessions": 0, "limit": 100, "offset": 0, "sessions": []}
    assert ask("/api/experiments/aa").status == ask("/api/sessions/aa/events").status == 404
    assert not home.exists()


def test_sessions_and_their_events_are_paged(ask, sessions):
    listed = ask("/api/sessions").content
    Sessions.model_validate(listed)
    assert [each["session_id"] for each in listed["sessions"]] == sessions[::-1]
    assert {each["state"] for each in listed["sessions"]} == {"sealed"}
    assert [each["session_id"] for each in ask("/api/sessions?limit=1&offset=1").content["sessions"]] == sessions[:1]
    events = read_events(sessions_folder() / sessions[0])
    whole = ask(f"/api/sessions/{sessions[0]}/events?limit=1000").content
    SessionEvents.model_validate(whole)
    assert whole["n_events"] == len(events)
    assert [line["event"]["kind"] for line in whole["events"]] == [event.kind for event in events][:1_000]
    paged = ask(f"/api/sessions/{sessions[0]}/events?limit=3&offset=4").content
    assert (paged["events"], paged["n_events"]) == (whole["events"][4:7], len(events))
    assert ask(f"/api/sessions/{sessions[0]}/events?offset={len(events)}").content["events"] == []


def test_a_session_is_named_by_its_whole_id_only(ask, sessions):
    for name in (sessions[0][:-1], ".", "..", "%2e%2e", quote(str(sessions_folder() / sessions[0]), safe="")):
        assert ask(f"/api/sessions/{name}/events").status == 404


def test_hostile_names_of_sessions_are_data(ask, sessions):
    names = ['<img src=x onerror="a()">', "a\nb", "🦊 & co", "'; DROP"]
    for name in names:
        shutil.copytree(sessions_folder() / sessions[0], sessions_folder() / name)
    reply = ask("/api/sessions")
    assert set(names) < {each["session_id"] for each in reply.content["sessions"]}
    assert reply.headers["content-type"] == "application/json"
    for name in names:
        assert ask(f"/api/sessions/{quote(name, safe='')}/events").content["session_id"] == name


@pytest.mark.parametrize(
    ("file", "content"),
    [(EVENTS, b"nothing\n"), (f"{EVENTS}.gz", b"not gzip"), (MANIFEST, b"{"), (MANIFEST, b'{"version": 99}')],
    ids=["line", "gzip", "json", "version"],
)
def test_a_damaged_session_is_one_line_and_the_others_are_shown(ask, sessions, file, content, home, capfd):
    (sessions_folder() / sessions[0] / file).write_bytes(content)
    states = {each["session_id"]: each for each in ask("/api/sessions").content["sessions"]}
    assert (states[sessions[0]]["state"], states[sessions[1]]["state"]) == ("unreadable", "sealed")
    reply = ask(f"/api/sessions/{sessions[0]}/events")
    assert (reply.status, list(reply.content)) == (500, ["error"])
    assert "\n" not in reply.content["error"]
    assert str(home) not in reply.content["error"] + states[sessions[0]]["reason"]
    assert capfd.readouterr() == ("", "")


def test_a_damaged_registry_is_one_line(ask, home, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home.mkdir()
    (home / "mlflow.db").write_bytes(b"this is no database" * 100)
    for path in ("/api/experiments", "/api/experiments/aa"):
        assert (ask(path).status, list(ask(path).content)) == (500, ["error"])


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/docs/../../secret.txt",
        "/docs/%2e%2e/%2e%2e/secret.txt",
        "/%252e%252e/secret.txt",
        "/..%5csecret.txt",
        "/../site-secret/index.html",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/secret.txt%00.html",
        "/index.html%00",
        "/.built.json",
        "/%2ebuilt.json",
        "/docs/../.built.json",
        "/link.txt",
        "/" + "a" * 5_000,
    ],
)
def test_nothing_outside_the_site_and_nothing_hidden_is_served(ask, path):
    reply = ask(path)
    assert reply.status == 404
    assert SECRET.encode() not in reply.body
    assert list(reply.content) == ["error"]


def hashed(*texts: str) -> list[str]:
    return [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]


def policy_of(words: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in words.split(";"))}


def test_a_page_may_run_what_it_has_itself_only(ask):
    reply = ask("/")
    assert reply.body.decode() == PAGE
    policy = policy_of(reply.headers["content-security-policy"])
    assert policy["script-src"] == ["'self'", *hashed(SCRIPT), "'unsafe-hashes'", *hashed('start("x")')]
    assert policy["style-src"] == ["'self'", *hashed("", STYLE)]
    assert policy["style-src-attr"] == ["'unsafe-hashes'", *hashed("color: red")]
    assert (policy["default-src"], policy["connect-src"], policy["base-uri"]) == (["'none'"], ["'self'"], ["'none'"])
    for allowed in ("unsafe-inline", "unsafe-eval", "http", "*"):
        assert allowed not in reply.headers["content-security-policy"]
    policy = policy_of(content_policy("<script src='a.js'></script>"))
    assert (policy["script-src"], policy["style-src-attr"]) == (["'self'"], ["'none'"])


@pytest.mark.browser
@needs_chromium
def test_a_browser_applies_what_a_page_has_itself_only(tmp_path):
    page = (
        "<style>b { color: rgb(1, 2, 3) }</style><b></b><i style='color: rgb(4, 5, 6)'></i><u></u><script>"
        "const later = document.createElement('style'); later.textContent = 'u { color: red }';"
        "document.head.append(later); document.querySelector('u').setAttribute('style', 'color: red');"
        "const shown = [...document.querySelectorAll('b, i, u')].map(each => getComputedStyle(each).color);"
        "document.body.append(shown.join(' ')); eval('document.body.append(1)')</script>"
    )
    (tmp_path / "reports" / "site").mkdir(parents=True)
    (tmp_path / "reports" / "site" / "index.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    with serving(tmp_path) as port:
        command += ["--dump-dom", f"http://127.0.0.1:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    shown = re.search(r"</script>(.*?)</body>", done.stdout, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == "rgb(1, 2, 3) rgb(4, 5, 6) rgb(0, 0, 0)"


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/api/experiments", "/healthz", "/openapi.json", "/nothing", "/api/no"]
)
def test_every_answer_has_the_headers_and_head_has_no_body(ask, home, path):
    got, head = ask(path), ask(path, "HEAD")
    assert {name.lower() for name in server.HEADERS} <= set(got.headers)
    assert (head.status, head.body) == (got.status, b"")
    for encoding in ("identity", "gzip"):
        got, head = ask(path, Accept_Encoding=encoding), ask(path, "HEAD", Accept_Encoding=encoding)
        assert head.body == b""
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_only_get_and_head_are_answered(ask, method):
    for path in ("/", "/page.js", "/api/experiments", "/healthz", "/openapi.json", "/nothing"):
        reply = ask(path, method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/api/experiments", "/api/experiments?limit=2", "/api/experiments/run1"]
)
def test_what_the_reader_has_is_not_sent_again(ask, runs, path):
    etag = ask(path).headers["etag"]
    for held in (etag, f'"other", {etag}', "*"):
        reply = ask(path, If_None_Match=held)
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag)
        assert "content-security-policy" in reply.headers
    assert ask(path, If_None_Match='"other"').status == 200


def test_answers_are_compressed(ask, runs):
    for path in ("/", "/api/experiments"):
        plain, packed = ask(path), ask(path, Accept_Encoding="gzip")
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        assert packed.headers["etag"].startswith("W/")
        for refused in ("gzip;q=0", "br, gzip; q=0.0, *"):
            assert ask(path, Accept_Encoding=refused).body == plain.body
        assert ask(path, Accept_Encoding="gzip;q=0.1").body == packed.body
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 2


def test_a_file_is_sent_whole(ask):
    """Parts of a file, of which a request could name many, are not cut out."""
    for wanted in ("bytes=0-3", "bytes=0-1,3-4,6-7", "bytes=99999-"):
        reply = ask("/page.js", Range=wanted)
        assert (reply.status, reply.body) == (200, b"start()")
        assert "accept-ranges" not in reply.headers


def test_a_name_that_another_site_resolves_is_refused(ask):
    assert ask("/api/experiments", Host="evil.example").status == 400
    for name in (f"evil.example:{ask.port}", "127.0.0.1.evil.example", "localhost@evil.example", ""):
        assert ask("/healthz", Host=name).status == 400
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert ask("/healthz", Host=f"{name}:{ask.port}").status == 200


def test_the_document_names_every_route_and_each_is_read_only(ask):
    document = ask("/openapi.json").content
    assert sorted(document["paths"]) == [
        "/api/experiments",
        "/api/experiments/{run_id}",
        "/api/sessions",
        "/api/sessions/{session_id}/events",
        "/healthz",
    ]
    assert {method for route in document["paths"].values() for method in route} == {"get"}
    assert ask("/docs").status in (307, 404)  # the folder of the site, and no viewer
    assert ask("/redoc").status == 404


@pytest.mark.long
def test_many_readers_at_once_get_the_same_answer(ask, runs):
    replies: list[Reply] = []
    readers = [threading.Thread(target=lambda: replies.append(ask("/api/experiments"))) for _ in range(200)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert {(reply.status, reply.body) for reply in replies} == {(200, ask("/api/experiments").body)}
    assert len(replies) == 200


@pytest.mark.browser
@needs_chromium
@pytest.mark.filterwarnings("ignore")
def test_a_built_page_draws_its_figures_under_its_policy(project, executed, tmp_path):
    executed("tiny-good")
    build_site(project, "nbconvert")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom"]
    with serving(project) as port:
        page = f"http://127.0.0.1:{port}/reports/pages/tiny-good.html"
        done = subprocess.run([*command, page], capture_output=True, text=True, timeout=120, check=True)
    assert 'class="main-svg"' in done.stdout
    reported = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert [line for line in reported if "plotly.min.js" not in line] == []  # plotly.js adds the style of its maps


def test_a_site_that_is_built_again_is_served(tmp_path):
    site = tmp_path / "reports" / "site"
    site.mkdir(parents=True)
    (site / "index.html").write_text("<p>old</p>")
    with serving(tmp_path) as port:
        ask = Client(port)
        old = ask("/")
        shutil.move(site, tmp_path / "away")
        assert (ask("/").status, ask("/healthz").status) == (404, 200)
        site.mkdir()
        (site / "index.html").write_text(f"<style>{STYLE}</style>")
        new = ask("/", If_None_Match=old.headers["etag"])
    assert (new.status, new.body) == (200, f"<style>{STYLE}</style>".encode())
    assert hashed(STYLE)[0] in new.headers["content-security-policy"]


@pytest.mark.long
def test_a_run_that_was_deleted_is_not_listed_any_more(ask, recorded, home, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(recorded, home)
    left = ids(ask("/api/experiments"))
    sync_runs()
    assert ids(ask("/api/experiments")) == left
    hide = "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE value = ?)"
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        while left:
            with database:
                database.execute(hide, (left.pop(),))
            assert ids(ask("/api/experiments")) == left


def test_a_site_that_is_not_built_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["site", "serve"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "peak-trade: reports/site/index.html: there is no such file. Build the site with `peak-trade site build`."
    ]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reports" / "site").mkdir(parents=True)
    (tmp_path / "reports" / "site" / "index.html").write_text(PAGE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_a_taken_port_is_one_line(built, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["site", "serve", "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port} of 127.0.0.1 could not be opened" in line


@pytest.mark.parametrize("host", ["", "nowhere.invalid", "192.0.2.1", "a" * 70, "ж" * 60])
def test_a_host_of_another_machine_is_one_line(built, capsys, host):
    assert main(["site", "serve", "--host", host, "--port", "0"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"peak-trade: host {host!r} is not an address of this machine. Name one with --host."
    ]


@pytest.mark.parametrize(
    ("address", "status"), [("127.0.0.1", 400), ("127.0.0.2", 400), ("::1", 400), ("0.0.0.0", 200), ("::", 200)]
)
def test_names_are_checked_on_every_loopback_address(built, address, status):
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {
        "type": "http", "method": "GET", "path": "/healthz", "query_string": b"",
        "headers": [(b"host", b"evil.example:8501")],
    }  # fmt: skip
    asyncio.run(make_app(address=address)(scope, receive, send))
    assert sent[0]["status"] == status


def test_ctrl_c_ends_with_one_line(built, capsys, monkeypatch):
    def interrupted(app: object, listener: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run_server", interrupted)
    assert main(["site", "serve", "--port", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Site at http://127.0.0.1:")
    assert err == "peak-trade: stopped\n"
    assert main(["site", "serve", "--port", "0", "--host", "0.0.0.0"]) == 0
    note, stopped = capsys.readouterr().err.splitlines()
    assert "without a password" in note
    assert stopped == "peak-trade: stopped"
