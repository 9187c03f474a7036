"""Journals of every version have the codes of today; only version 1 takes them from texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import fields

from peak_trade.core.errors import SessionError
from peak_trade.core.values import OrderType, Side, TimeInForce, TradingState
from peak_trade.journal.codec import chain_hash, encode_event, encode_line, read_line
from peak_trade.journal.events import (
    ADDED,
    EndCause,
    Event,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    TradingStateCause,
    TradingStateEvent,
)
from peak_trade.journal.files import MANIFEST, read_events
from peak_trade.journal.versions import JOURNAL_VERSION, with_codes
from peak_trade.risk.state import Control, control_from_events
from tests.examples import mostly_long
from tests.replacing import replace

RECORDED = Path(__file__).parents[1] / "sessions" / "recorded" / "sessions"


def ended(kind: OrderEventKind, reason: str) -> OrderEvent:
    return OrderEvent(
        1, "o-1", "a", "BTC/USDT", kind, Side.BUY, OrderType.MARKET, TimeInForce.GTC,
        1.0, 0.0, 0.0, 1.0, 1.0, reason=reason,
    )  # fmt: skip


def changed(reason: str, state: TradingState = TradingState.ACTIVE, actor: str = "") -> TradingStateEvent:
    return TradingStateEvent(1, state, reason, 0.5, 1.0, actor)


def without_codes(event: Event) -> Event:
    added = {part.name: part.default for part in fields(event) if ADDED.get(type(event), {}).get(part.name) == 2}
    return replace(event, **added)


def line_of(event: Event) -> bytes:
    encoded = encode_event(event)
    return encode_line(encoded, chain_hash("0" * 64, encoded, 1, 2), 1, 2)[:-1]


@pytest.mark.parametrize(
    ("event", "codes"),
    [
        (ended(OrderEventKind.CANCELED, "target changed"), {"cause": EndCause.TARGET_CHANGED}),
        (ended(OrderEventKind.CANCELED, "stop_loss filled"), {"cause": EndCause.OTHER_FILLED}),
        (ended(OrderEventKind.CANCELED, "trading is halted"), {"cause": EndCause.TRADING_STATE}),
        (ended(OrderEventKind.CANCELED, "ioc"), {"cause": EndCause.TIME_IN_FORCE}),
        (ended(OrderEventKind.CANCELED, "cash"), {"cause": EndCause.CASH}),
        (ended(OrderEventKind.CANCELED, "by the exchange: expired"), {"cause": EndCause.EXCHANGE}),
        (ended(OrderEventKind.REJECTED, "by the exchange: no"), {"cause": EndCause.EXCHANGE}),
        (ended(OrderEventKind.REJECTED, "decided 4 bars ago, too old to send"), {"cause": EndCause.NOT_SENT}),
        (ended(OrderEventKind.EXPIRED, "end of run"), {"cause": EndCause.FEED_ENDED}),
        (ended(OrderEventKind.CANCELED, "Ctrl-C"), {"cause": EndCause.STOPPED}),
        (ended(OrderEventKind.CANCELED, "kill switch"), {"cause": EndCause.KILLED}),
        (ended(OrderEventKind.CANCELED, "imported"), {}),
        (ended(OrderEventKind.DENIED, "order_notional"), {}),
        (ended(OrderEventKind.FILLED, "target"), {}),
        (SessionEvent(1, SessionPhase.STOPPED, "paper", "duration reached", 1.0), {"cause": EndCause.DURATION}),
        (SessionEvent(1, SessionPhase.STOPPED, "paper", "enough", 1.0), {"cause": EndCause.STOPPED}),
        (SessionEvent(1, SessionPhase.STARTED, "paper", "", 1.0), {}),
        (changed("drawdown", TradingState.HALTED), {"cause": TradingStateCause.DRAWDOWN}),
        (changed("ramp at 50% disabled", TradingState.HALTED, "ada"), {"cause": TradingStateCause.KILL}),
        (changed("ramp at 75%"), {"cause": TradingStateCause.RAMP}),
        (changed("a b disabled"), {"cause": TradingStateCause.STRATEGY_DISABLED, "strategy": "a b"}),
        (changed("a b enabled", actor="ada"), {"cause": TradingStateCause.STRATEGY_ENABLED, "strategy": "a b"}),
        (ReconciliationEvent(1, "BTC", 1.0, 1.0, True, "baseline"), {"is_baseline": True}),
        (ReconciliationEvent(1, "BTC", 1.0, 1.0, True), {}),
    ],
    ids=lambda value: f"{value.kind} {getattr(value, 'reason', value.ts_event)}" if hasattr(value, "kind") else "",
)  # fmt: skip
def test_a_line_of_version_1_has_the_codes_of_its_texts_and_no_other_version_reads_texts(event, codes):
    assert read_line(line_of(event), "here", 1).event == replace(event, **codes)
    assert read_line(line_of(event), "here", 2).event == event


def test_codes_of_a_line_stay_whatever_its_text_says():
    event = replace(ended(OrderEventKind.CANCELED, "end of run"), cause=EndCause.STOPPED)
    assert [read_line(line_of(event), "here", version).event for version in (1, 2)] == [event, event]


def test_the_state_follows_codes_and_not_the_names_of_strategies():
    events = [
        replace(changed("x"), cause=TradingStateCause.STRATEGY_DISABLED, strategy="is enabled"),
        replace(changed("a disabled"), cause=TradingStateCause.RAMP),
    ]
    assert control_from_events(Control(ramp=0.25), events).throttled == ("is enabled",)


@pytest.mark.parametrize(
    "folder", mostly_long(sorted(RECORDED.iterdir()), 1), ids=lambda folder: folder.name.split("_")[2]
)
def test_codes_that_are_taken_away_from_a_recorded_session_come_back(folder):
    events = read_events(folder)
    assert any(without_codes(event) != event for event in events)
    assert [with_codes(without_codes(event)) for event in events] == events


@pytest.mark.parametrize("version", [0, JOURNAL_VERSION + 1, "2", 1.0, True, None])
def test_a_journal_of_an_unknown_version_is_refused(tmp_path, version):
    (tmp_path / MANIFEST).write_text(json.dumps({"version": version}), encoding="utf-8")
    with pytest.raises(SessionError, match=r"version was .* versions 1 to 4"):
        read_events(tmp_path)
