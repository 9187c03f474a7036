"""Series that make each alert fire and series that do not, from which the cases of `promtool test rules` are made.

One value per scrape of 15 s. The quiet series are as near to the threshold as the metric allows. Two more cases follow
from each row: the metrics are missing, and the firing series become stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

OBSERVABILITY = Path(__file__).parents[2] / "config" / "observability"
INTERVAL = 15
"""Seconds between two scrapes and two evaluations, as in prometheus.yml."""

TARGET = 'instance="exporter:9108",job="peak_trade"'
SESSION = f'{TARGET},mode="paper",strategy="ma_crossover",symbol="BTC/USDT"'
WHO = "ma_crossover on BTC/USDT (paper)"

N_SCRAPES = 100
WINDOW = 15 * 60 + 2 * INTERVAL
"""Seconds after which a stale series has left the longest window of a rule."""


def flat(value: float) -> list[float]:
    """Return one value at every scrape."""
    return [value] * N_SCRAPES


def jump(size: float) -> list[float]:
    """Return a counter that grows once, by `size`."""
    return [0.0] * 40 + [size] * (N_SCRAPES - 40)


def growing(per_scrape: float) -> list[float]:
    """Return a counter that grows at every scrape."""
    return [per_scrape * i for i in range(N_SCRAPES)]


def latencies(within: float) -> dict[str, list[float]]:
    """Return the buckets of a histogram whose orders all took between 2.5 s and `within` seconds."""
    uppers = ("2.5", "5.0", "10.0", "+Inf")
    return {
        f'peak_trade_order_latency_seconds_bucket{{{SESSION},le="{upper}"}}': growing(float(float(upper) >= within))
        for upper in uppers
    }


@dataclass(frozen=True)
class AlertCase:
    """One alert: its severity, the series that make it fire, those that do not, and the sentence of a firing."""

    alert: str
    severity: str
    firing: dict[str, list[float]]
    quiet: dict[str, list[float]]
    summary: str
    labels: str = SESSION


def of_session(name: str, labels: str = "") -> str:
    """Return a metric with the labels of the session."""
    return f"{name}{{{SESSION}{',' if labels else ''}{labels}}}"


def gauge(name: str, fires: float, quiet: float, labels: str = "") -> dict[str, dict[str, list[float]]]:
    """Return the firing and the quiet series of a gauge."""
    return {"firing": {of_session(name, labels): flat(fires)}, "quiet": {of_session(name, labels): flat(quiet)}}


def counter(name: str, fires: int, quiet: int, labels: str) -> dict[str, dict[str, list[float]]]:
    """Return the firing and the quiet series of a counter that grows once."""
    return {"firing": {of_session(name, labels): jump(fires)}, "quiet": {of_session(name, labels): jump(quiet)}}


MINUTE_BARS = {of_session("peak_trade_timeframe_seconds"): flat(60.0)}

CASES = (
    AlertCase(
        "PeakTradeDrawdown",
        "warning",
        **gauge("peak_trade_drawdown_ratio", 0.101, 0.10),
        summary=f"{WHO} lost 10.1% of its peak equity",
    ),
    AlertCase(
        "PeakTradeDailyLoss",
        "warning",
        **gauge("peak_trade_daily_loss_ratio", 0.051, 0.05),
        summary=f"{WHO} lost 5.1% since 00:00 UTC",
    ),
    AlertCase(
        "PeakTradeKillSwitch",
        "critical",
        **gauge("peak_trade_trading_state", 1.0, 0.0, 'state="halted"'),
        summary=f"{WHO} is halted: only cancels pass",
        labels=f'{SESSION},state="halted"',
    ),
    AlertCase(
        "PeakTradePositionMismatch",
        "critical",
        **gauge("peak_trade_position_mismatch", 1.0, 0.0),
        summary="BTC/USDT (paper): a holding at the exchange is not the one of the journal",
    ),
    AlertCase(
        "PeakTradeDenialBurst",
        "warning",
        firing={
            of_session("peak_trade_order_denials_total", f'code="{code}"'): jump(3) for code in ("spread", "drawdown")
        },
        quiet={
            of_session("peak_trade_order_denials_total", 'code="spread"'): jump(3),
            of_session("peak_trade_order_denials_total", 'code="drawdown"'): jump(2),
        },
        summary=f"{WHO}: 6 denials in 15 minutes",
    ),
    AlertCase(
        "PeakTradeRejectionBurst",
        "critical",
        **counter("peak_trade_order_rejections_total", 3, 2, 'reason="exchange"'),
        summary=f"{WHO}: the venue rejected 3 orders in 15 minutes",
    ),
    AlertCase(
        "PeakTradeExitRefused",
        "critical",
        firing={of_session("peak_trade_alerts_total", 'code="exit_refused"'): jump(1)},
        quiet={of_session("peak_trade_alerts_total", 'code="open_orders"'): jump(1)},
        summary=f"{WHO}: an exit was refused, the position is still held",
        labels=f'code="exit_refused",{SESSION}',
    ),
    AlertCase(
        "PeakTradeOrderLatency",
        "warning",
        firing=latencies(within=10.0),
        quiet=latencies(within=5.0),
        summary=f"{WHO}: the slowest 5 % of orders took more than 9.75s",
    ),
    AlertCase(
        "PeakTradeFeedStale",
        "warning",
        firing={of_session("peak_trade_feed_age_seconds"): flat(121.0)} | MINUTE_BARS,
        quiet={of_session("peak_trade_feed_age_seconds"): flat(120.0)} | MINUTE_BARS,
        summary="BTC/USDT (paper): the newest bar is 2m 1s old",
    ),
    AlertCase(
        "PeakTradeJournalUnverified",
        "critical",
        **gauge("peak_trade_journal_verified", 0.0, 1.0),
        summary=f"{WHO}: the journal does not verify",
    ),
    AlertCase(
        "PeakTradeSessionDown",
        "critical",
        **gauge("peak_trade_session_running", 0.0, 1.0),
        summary=f"{WHO}: the process ended and the journal is not sealed",
    ),
    AlertCase(
        "PeakTradeExporterDown",
        "critical",
        firing={f"up{{{TARGET}}}": flat(0.0)},
        quiet={f"up{{{TARGET}}}": flat(1.0)},
        summary="Prometheus can not scrape the exporter: no other alert of peak_trade can fire",
        labels=TARGET,
    ),
)

KINDS = ("firing", "quiet", "missing", "stale")


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule of the rule files: alerts and recorded series."""
    found = []
    for path in sorted((OBSERVABILITY / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            found += group["rules"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts of the rule files, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool_tests(kind: str) -> list[dict[str, Any]]:
    """Return one test of `promtool test rules` for each alert: the state of the alert at the last scrape."""
    return [_promtool_test(case, kind) for case in CASES]


def _promtool_test(case: AlertCase, kind: str) -> dict[str, Any]:
    policy = alerts()[case.alert]["annotations"]["missing_data"]
    series = {f"peak_trade_equity_quote{{{SESSION}}}": flat(1_000.0)}
    if case.alert != "PeakTradeExporterDown":
        series[f"up{{{TARGET}}}"] = flat(1.0)
    series |= {"firing": case.firing, "quiet": case.quiet, "missing": {}, "stale": case.firing}[kind]
    labels = case.labels
    if kind in ("missing", "stale"):
        labels = 'job="peak_trade"' if policy == "fires" else labels  # those of `absent`
    last = (N_SCRAPES - 1) * INTERVAL
    end = last + WINDOW if kind == "stale" else last
    fires = kind == "firing" or (kind in ("missing", "stale") and policy == "fires")
    return {
        "name": f"{case.alert}, {kind}",
        "interval": f"{INTERVAL}s",
        "input_series": [
            {"series": name, "values": " ".join([*map(repr, values), *(["stale"] if kind == "stale" else [])])}
            for name, values in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{end}s", "alertname": case.alert, "exp_alerts": [_expected(case, labels)] if fires else []}
        ],
    }


def _expected(case: AlertCase, labels: str) -> dict[str, Any]:
    named = dict(part.split("=", 1) for part in labels.split(","))
    return {
        "exp_labels": {name: value.strip('"') for name, value in named.items()} | {"severity": case.severity},
        "exp_annotations": alerts()[case.alert]["annotations"] | {"summary": case.summary},
    }
