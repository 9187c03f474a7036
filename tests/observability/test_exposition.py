"""The number of series is bounded, whatever names sessions have, and sessions with equal labels are one series."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import time
import urllib.request
from math import prod
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from peak_trade.cli import main
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.journal.files import EVENTS, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import create_session
from peak_trade.observability.exporter import INTERRUPTED_FOR, SEALED_FOR, Exporter, Span, shown_at
from peak_trade.observability.exposition import MAX_LABEL_SETS, Exposition, Reading, families
from peak_trade.observability.figures import Labels, Observations, SessionFigures
from peak_trade.observability.metrics import LABEL_VALUES, METRICS, OTHER, MetricKind
from peak_trade.observability.server import serving
from tests.examples import examples
from tests.observability.following import NOW, PAPER, RECORDED, GrowingSession, exporter_of, text_of, value, values_of

N_MORE = 7
HOSTILE = [
    "A" * 10_000,
    'BTC/USDT",mode="live',
    "BTC/USDT\n# TYPE peak_trade_orders_total gauge",
    "\\",
    "{}",
    "Ж/𝕊",
    "\ud800",
    "",
    " ",
]


def renamed(symbol, strategy="ma_crossover", mode="paper"):
    """The manifest of a session with this symbol, strategy and mode."""
    manifest = read_manifest(PAPER)
    entry = manifest["config"] | {"symbol": symbol, "strategy": strategy, "mode": mode}
    return manifest | {"config": entry}


def series_per_set():
    """Most series of one set of labels, with those of the creation times of counters."""
    total = 0
    for metric in METRICS:
        if not metric.is_of_session:
            continue
        n_values = prod(len(LABEL_VALUES[f"{metric.short_name} {label}"]) for label in metric.labels)
        parts = {MetricKind.COUNTER: 2, MetricKind.GAUGE: 1, MetricKind.HISTOGRAM: len(metric.buckets) + 3}
        total += n_values * parts[metric.kind]
    return total


def test_the_number_of_series_is_bounded():
    assert series_per_set() <= 260
    series = SessionFigures.of_manifest(renamed("BTC/USDT")).series(NOW)
    manifests = [renamed(f"C{n}/USDT") for n in range(MAX_LABEL_SETS + N_MORE)]
    readings = [Reading(f"{n}", Labels.of_manifest(each), n, series) for n, each in enumerate(manifests)]
    for label_session in (False, True):
        found = [sample for family in families(readings, label_session=label_session) for sample in family.samples]
        assert len(found) <= (MAX_LABEL_SETS + 1) * series_per_set() + 1
        assert len({(each.name, frozenset(each.labels.items())) for each in found}) == len(found)
        symbols = {each.labels["symbol"] for each in found if "symbol" in each.labels}
        assert symbols == {*(f"C{n}/USDT" for n in range(MAX_LABEL_SETS)), OTHER}
        others = [each for each in found if each.name.endswith("equity_quote") and each.labels["symbol"] == OTHER]
        assert [each.value for each in others] == [N_MORE * 10_000.0], (
            "the sessions without a series of their own are added"
        )


numbers = st.floats() | st.integers(-10, 10**9).map(float) | st.sampled_from([-0.0, 1e6, 1.5e16, 123456.0, 1e-9])
observations = st.tuples(st.integers(0, 99), numbers)


@st.composite
def readings_of(draw):
    """Readings of a few sessions, some with equal labels; any metric may be missing."""
    names = draw(st.lists(st.sampled_from([*HOSTILE, "BTC/USDT", "ETH/USDT"]), max_size=4))
    found = []
    for n, name in enumerate(names):
        series = {}
        for metric in draw(st.lists(st.sampled_from(METRICS[:-1]), max_size=4)):
            own = tuple(LABEL_VALUES[f"{metric.short_name} {label}"][0] for label in metric.labels)
            if metric.kind is MetricKind.HISTOGRAM:
                count, total = draw(observations)
                number = Observations((count,) * (len(metric.buckets) + 1), total)
            else:
                number = draw(numbers)
            series[metric] = ((own, number),)
        found.append(Reading(f"{n}", Labels.of(name, name, name), draw(st.integers(0, 10**19)), series))
    return found


class Families(Collector):
    """The families of readings, for a registry."""

    def __init__(self, readings, label_session):
        self._found = list(families(readings, label_session=label_session))

    def collect(self):
        return iter(self._found)


@pytest.mark.parametrize("label_session", [False, True])
@given(many=st.lists(readings_of(), min_size=2, max_size=3))
@settings(max_examples=examples(40), deadline=None)
def test_the_text_is_that_of_prometheus_client_whatever_was_shown_before(label_session, many):
    exposition = Exposition(label_session=label_session)
    for readings in [*many, *many]:
        registry = CollectorRegistry(support_collectors_without_names=True)
        registry.register(Families(readings, label_session))
        assert exposition.text(readings) == generate_latest(registry)


def test_a_zero_of_either_sign_has_one_text():
    metric = next(each for each in METRICS if each.kind is MetricKind.GAUGE and not each.labels)
    first, second = ([Reading("0", Labels.of("", "", ""), 1, {metric: (((), zero),)})] for zero in (0.0, -0.0))
    exposition = Exposition()
    exposition.text(first)
    assert exposition.text(second) == Exposition().text(second) == Exposition().text(first)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_a_short_plain_label(name):
    labels = Labels.of_manifest(renamed(name, name, name))
    assert labels.mode == "unknown", "a mode is one of a closed list"
    assert all(re.fullmatch(r"[A-Za-z0-9/:._,-]{1,64}", value) for value in labels)
    reading = Reading(name, labels, 1, SessionFigures.of_manifest(renamed("BTC/USDT")).series(NOW))
    found = [each for family in families([reading], label_session=True) for each in family.samples]
    assert {each.labels["symbol"] for each in found if "symbol" in each.labels} == {labels.symbol}


def test_without_label_session_no_id_of_a_session_or_an_order_is_shown(home):
    shutil.copytree(RECORDED, home)
    folders = sorted((home / "sessions").glob("2*"))
    text = text_of(exporter_of(*folders))
    assert "session=" not in text
    assert all(folder.name not in text for folder in folders)
    assert not re.search(r"o-[0-9]+", text)
    labelled = text_of(exporter_of(*folders, label_session=True))
    assert {match for match in re.findall('session="([^"]+)"', labelled)} == {folder.name for folder in folders}


def test_sessions_with_equal_labels_are_one_series(home):
    shutil.copytree(RECORDED / "keys", home / "keys")
    pair = [GrowingSession(PAPER, home / "one" / PAPER.name), GrowingSession(PAPER, home / "two" / PAPER.name)]
    for each in pair:
        each.grow(each.size)
    alone, both = exporter_of(pair[0].folder), exporter_of(*(each.folder for each in pair))
    for name, labels, factor in (
        ("orders_total", {"side": "buy", "status": "denied"}, 2),
        ("equity_quote", {}, 2),
        ("slippage_bps_bucket", {"le": "+Inf"}, 2),
        ("drawdown_ratio", {}, 1),
        ("last_bar_timestamp_seconds", {}, 1),
        ("journal_verified", {}, 1),
        ("orders_created", {"side": "buy", "status": "denied"}, 1),
    ):
        assert value(both, name, **labels) == factor * value(alone, name, **labels), name


session_spans = st.builds(
    lambda series, started, length: Span((series,), started, started + length),
    st.sampled_from("ab"),
    st.integers(0, 400),
    st.integers(0, 300),
)


@given(spans=st.lists(session_spans, max_size=6), now=st.integers(0, 900))
@settings(max_examples=examples(150), deadline=None)
def test_a_sum_loses_a_session_only_with_all_that_it_was_added_to(spans, now):
    """Sessions that were shown at one time in one series are shown together, or not at all, at every later time."""
    spans = [span for span in spans if span.started <= now]
    shown = shown_at(now, spans)
    for n, one in enumerate(spans):
        assert n in shown or one.until < now
        for m, other in enumerate(spans):
            were_added_up = one.series == other.series and max(one.started, other.started) <= min(
                one.until, other.until
            )
            assert not were_added_up or (n in shown) == (m in shown)


def unsealed(home, name, manifest, started):
    """A session of a workspace that was created and never wrote a line."""
    folder = home / "sessions" / name
    create_session(folder, manifest | {"session_id": name}, WorkspaceKey(home / "keys"), lambda: started)
    (folder / EVENTS).touch()
    os.utime(folder / EVENTS, ns=(started, started))
    return folder


def test_the_sessions_of_the_workspace_are_shown_for_their_time(home):
    key = WorkspaceKey(home / "keys")
    started = NOW - 10 * INTERRUPTED_FOR
    unsealed(home, "interrupted", renamed("A/USDT"), started)
    for n in range(3):
        unsealed(home, f"other-{n}", renamed("B/USDT"), started + n * (INTERRUPTED_FOR - NS_PER_SECOND))
    at = {"now": started}
    exporter = Exporter(clock=lambda: at["now"])

    def shown():
        found = values_of(exporter).items()
        return {dict(labels)["symbol"]: number for (name, labels), number in found if name.endswith("equity_quote")}

    assert shown() == {"A/USDT": 10_000.0, "B/USDT": 30_000.0}
    at["now"] += INTERRUPTED_FOR + NS_PER_SECOND
    assert shown() == {"B/USDT": 30_000.0}, "the first of them was added to the others while it was shown"
    at["now"] = started + 3 * INTERRUPTED_FOR
    assert shown() == {}
    assert SEALED_FOR < INTERRUPTED_FOR
    assert key.public


def test_the_server_answers_get_on_loopback_only_and_the_parser_of_prometheus_reads_it(home):
    shutil.copytree(RECORDED, home)
    exporter = exporter_of(*sorted((home / "sessions").glob("2*")))
    with serving(exporter.text, "127.0.0.1", 0, "--port") as port:
        answers = {}
        for method in ("GET", "POST", "PUT", "DELETE"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, "/metrics")
            answer = connection.getresponse()
            answers[method] = answer.status, answer.read().decode()
            connection.close()
        assert [answers[method][0] for method in answers] == [200, 405, 405, 405]
        names = {family.name for family in text_string_to_metric_families(answers["GET"][1])}
        assert {metric.name.removesuffix("_total") for metric in METRICS} <= names
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\nHost: me\n\n", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 70_000, b"400 Bad Request"),
    ],
    ids=["GET", "line-feeds", "HEAD", "nothing", "too-long"],
)
def test_a_request_is_answered_while_other_connections_say_nothing(request_text, status):
    with serving(lambda: b"metrics", "127.0.0.1", 0, "--port") as port:
        address = ("127.0.0.1", port)
        with socket.create_connection(address), socket.create_connection(address) as half:
            half.sendall(b"GET /metr")
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(request_text)
                answer = b""
                while read := connection.recv(1 << 16):
                    answer += read
        assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
        assert answer.endswith(b"\r\n\r\nmetrics" if status == b"200 OK" else b"\r\n\r\n")


def test_a_connection_that_stays_open_is_closed_with_the_server_or_after_its_time(monkeypatch):
    with serving(lambda: b"", "127.0.0.1", 0, "--port") as port:
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10).read() == b""
    with silent:
        assert silent.recv(1) == b""
    monkeypatch.setattr("peak_trade.observability.server.TIMEOUT", 0.01)
    with (
        serving(lambda: b"", "127.0.0.1", 0, "--port") as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as silent,
    ):
        assert silent.recv(1) == b""


def test_a_port_that_is_taken_is_one_clear_line(home, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["metrics", "serve", "--port", str(port)]) == 2
        shown = capsys.readouterr()
        assert shown.err == (
            f"peak-trade: port {port} of 127.0.0.1 could not be opened (Address already in use). Name another one with "
            "--port.\n"
        )
        assert not (home / "sessions").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--session", "nothing"], "there is no session nothing"),
        (
            ["--host", "nowhere.invalid"],
            "host 'nowhere.invalid' is not an address of this machine. Name one with --host.",
        ),
        (["--host", "192.0.2.1"], "host '192.0.2.1' is not an address of this machine. Name one with --host."),
        (["--port", "70000"], "--port"),
    ],
)
def test_bad_input_is_one_clear_line(home, capsys, words, says):
    assert main(["metrics", "serve", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert says in shown.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_with_one_line(home, capsys, monkeypatch, number):
    """The signal comes while the server waits, after a scrape."""
    urls = []

    class Waiting:
        def wait(self):
            urls.append(json.loads(capsys.readouterr().out)["url"])
            assert b"peak_trade_build_info" in urllib.request.urlopen(urls[0], timeout=10).read()
            os.kill(os.getpid(), number)
            time.sleep(10.0)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("peak_trade.cli.metrics.threading", SimpleNamespace(Event=Waiting))
    assert main(["metrics", "serve", "--port", "0", "--json"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "peak-trade: stopped\n")
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/metrics", urls[0])
    assert signal.getsignal(signal.SIGTERM) is before
