"""Every gate denies and passes, fails closed, is monotone, and is relieved as the contract states."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import AccountView, MarketView, Order, OrderBook, Side, TradingState
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import GATES, gate_chain, read_risk_file, risk_limits
from tests.examples import examples
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BOOK, BTC, CASES, DAY, MARKET, NOW, ORDER, SELL, SETTING_CASES, Case

IDS = [case.code.value for case in CASES]
ALL_CASES = (*CASES, *SETTING_CASES)
FILES = [
    "risk.toml",
    "risk_order_limits_example.toml",
    "risk_liquidity_gate_example.toml",
    "risk_stress_gate_example.toml",
]


def check_alive(case: Case, value: object = None) -> None:
    """Assert that the limit denies one order and lets the other pass."""
    limits = case.risk_limits(value)
    chain = gate_chain(limits)
    order, account, market = case.inputs(case.denied)
    answer = review(order, account, market, chain, limits)
    assert not isinstance(answer, ApprovedOrder)
    assert case.code in [denial.code for denial in answer]
    order, account, market = case.inputs(case.passed)
    assert isinstance(review(order, account, market, chain, limits), ApprovedOrder)


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.code.value)
def test_every_limit_denies_one_order_and_lets_one_pass(case):
    check_alive(case)


@pytest.mark.parametrize("case", [case for case in ALL_CASES if case.looser], ids=lambda case: case.code.value)
@pytest.mark.parametrize("direction", ["looser", "tighter"])
def test_a_moved_threshold_is_noticed(case, direction):
    with pytest.raises(AssertionError):
        check_alive(case, getattr(case, direction))


def test_every_gate_has_a_case_and_every_code_a_gate():
    assert [gate.code for gate in GATES] == list(DenialCode) == [case.code for case in CASES]


def test_every_limit_has_a_gate():
    settings_of_gates = {gate.setting for gate in GATES}
    assert {f"{name}" for name in RiskLimits.model_fields if name.startswith("max_")} <= settings_of_gates


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_gate_that_is_not_configured_is_not_asked(case):
    asked = {gate.code for gate in gate_chain(case.risk_limits())}
    always = {gate.code for gate in GATES if not gate.setting}
    assert asked == always | {case.code}


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_limits_let_a_small_order_pass(name, config):
    limits = read_risk_file(config / name)
    assert isinstance(review(ORDER, ACCOUNT, MARKET, gate_chain(limits), limits), ApprovedOrder)


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"max_drawdwon": 0.2}, "Did you mean max_drawdown?"),
        ({"liquidity": {"max_spred": 0.1}}, "liquidity.max_spred is not a setting. Did you mean max_spread?"),
        ({"var": {"max_vra": 0.1}}, "Did you mean max_var?"),
        ({"var": {}, "stress": {"scenarios": ["luna"]}}, "Did you mean luna_2022?"),
        ({"stress": {}}, "add a \\[var\\] table"),
        ({"max_drawdown": 20.0}, "max_drawdown was 20.0"),
        ({"state": {"reduce_drawdown": 0.3, "halt_drawdown": 0.2}}, "lower reduce_drawdown"),
        ({"file": "x.toml", "max_drawdown": 0.1}, "risk.max_drawdown is set in addition to risk.file"),
    ],
)
def test_a_wrong_risk_table_is_an_error_with_a_hint(table, hint):
    with pytest.raises(ConfigError, match=hint):
        risk_limits(table, "run.toml")


GARBAGE = [math.nan, math.inf, -math.inf, 1e308, -1e308, -1.0, "1", None, True, b"1", [1.0], {"a": 1}, 1j, object()]
"""Values that no amount can have; -0.0 and 0.0 are added for amounts above zero."""
ZEROS = [0.0, -0.0]
READS = {
    DenialCode.TRADING_STATE: [("account", "state", [None, "on", 0, math.nan, "ACTIVE"])],
    DenialCode.STRATEGY_DISABLED: [("account", "throttled", [None, "ma", 1, {"ma"}]), ("order", "strategy", [None, 1])],
    DenialCode.MISSING_DATA: [
        ("market", "decision_price", GARBAGE + ZEROS),
        ("market", "bar_volume", GARBAGE),
        ("market", "bar_time", [None, math.nan, "now", -1, NOW + 1, 1e18, True]),
        ("market", "as_of", [None, math.nan, "now", -1, 0, 1e18, True]),
        ("market", "instrument", [None, replace(MARKET.instrument, symbol="ETH/USDT")]),
    ],
    DenialCode.STALE_DATA: [
        ("market", "bar_time", [None, math.nan, "now", -1, NOW + 1, NOW - DAY, 1.0, True]),
        ("market", "as_of", [None, math.nan, "now", -1, NOW - DAY, True]),
    ],
    DenialCode.ORDER_SHAPE: [("order", "order_type", [None, "MARKET", 1]), ("order", "trail", [0.1, math.nan, "1"])],
    DenialCode.QUANTITY: [("order", "quantity", GARBAGE + ZEROS)],
    DenialCode.MIN_NOTIONAL: [("order", "quantity", GARBAGE + ZEROS), ("market", "decision_price", GARBAGE + ZEROS)],
    DenialCode.MAX_LEVERAGE: [
        ("order", "quantity", GARBAGE + ZEROS),
        ("order", "side", [None, "BUY", 1]),
        ("market", "decision_price", GARBAGE + ZEROS),
        ("account", "equity", GARBAGE + ZEROS),
        ("account", "pending", [None, ((BTC, math.nan),), ((BTC, "1"),), ((BTC, None),), ((BTC,),), 1]),
    ],
    DenialCode.DUPLICATE_ORDER: [
        ("account", "recent_orders", [None, 1, "none", [1]]),
        ("order", "decided_at", [None, math.nan, -1, "now", True]),
        ("order", "quantity", GARBAGE + ZEROS),
        ("order", "side", [None, "BUY", 1]),
    ],
    DenialCode.ORDER_RATE: [
        ("account", "recent_orders", [None, 1, "none"]),
        ("order", "decided_at", [None, math.nan, -1, "now", True]),
    ],
    DenialCode.REPEATED_EXECUTION: [
        ("account", "recent_fills", [None, 1, "none"]),
        ("order", "decided_at", [None, math.nan, -1, "now", True]),
        ("order", "side", [None, "BUY", 1]),
        ("order", "strategy", [None, 1]),
    ],
    DenialCode.ORDER_NOTIONAL: [
        ("order", "quantity", GARBAGE + ZEROS),
        ("market", "decision_price", GARBAGE + ZEROS),
        ("account", "ramp", [*GARBAGE, *ZEROS, 1.1]),
    ],
    DenialCode.PRICE_COLLAR: [
        ("order", "decision_price", GARBAGE + ZEROS),
        ("order", "limit_price", [bad for bad in GARBAGE if bad is not None] + ZEROS),
        ("order", "stop_price", [bad for bad in GARBAGE if bad is not None] + ZEROS),
        ("market", "decision_price", GARBAGE + ZEROS),
    ],
    DenialCode.OPEN_ORDERS: [("account", "n_open_orders", [bad for bad in GARBAGE if bad != 1])],
    DenialCode.DAILY_LOSS: [
        ("account", "equity", [bad for bad in GARBAGE if bad != -1.0]),
        ("account", "day_start_equity", GARBAGE + ZEROS),
    ],
    DenialCode.DAILY_LOSS_FRACTION: [
        ("account", "equity", GARBAGE + ZEROS),
        ("account", "day_start_equity", GARBAGE + ZEROS),
    ],
    DenialCode.DRAWDOWN: [("account", "equity", GARBAGE + ZEROS), ("account", "peak_equity", GARBAGE + ZEROS)],
    DenialCode.STALE_BOOK: [
        ("market", "book", [None, "book", OrderBook(NOW + 1), OrderBook(NOW - DAY), OrderBook(math.nan)])
    ],
    DenialCode.VAR_MODEL: [("market", "returns", [None, "daily", MARKET.returns.returns])],
}
POSITIONS = [None, "BTC", {BTC: math.nan}, {BTC: math.inf}, {BTC: "1"}, {BTC: None}, {BTC: 1e308}, {BTC: True}]
PORTFOLIO = [
    ("order", "quantity", GARBAGE + ZEROS),
    ("order", "side", [None, "BUY", 1]),
    ("market", "decision_price", GARBAGE + ZEROS),
    ("account", "equity", GARBAGE + ZEROS),
    ("account", "positions", POSITIONS),
    ("account", "pending", [None, ((BTC, math.nan),), ((BTC, "1"),), ((BTC, None),), ((BTC,),), 1]),
]
OTHERS = [("account", "marks", [None, {}, {BTC: 100.0}, {"ETH/USDT": math.nan}, {"ETH/USDT": -1.0}])]
for _code in (DenialCode.GROSS_EXPOSURE, DenialCode.NET_EXPOSURE, DenialCode.CONCENTRATION):
    READS[_code] = PORTFOLIO + OTHERS
READS[DenialCode.SYMBOL_EXPOSURE] = PORTFOLIO
_HISTORY = MARKET.returns
_HISTORIES = [
    None,
    "daily",
    _HISTORY.returns,
    type(_HISTORY)("other", NOW, _HISTORY.symbols, _HISTORY.returns),
    type(_HISTORY)("run", NOW + 1, _HISTORY.symbols, _HISTORY.returns),
    type(_HISTORY)("run", NOW - 10 * DAY, _HISTORY.symbols, _HISTORY.returns),
    type(_HISTORY)("run", NOW, _HISTORY.symbols, _HISTORY.returns[:, :300]),
    type(_HISTORY)("run", NOW, _HISTORY.symbols, _HISTORY.returns * math.nan),
    type(_HISTORY)("run", NOW, ["SOL/USDT", "X/USDT"], _HISTORY.returns),
]
for _code in (
    DenialCode.VALUE_AT_RISK,
    DenialCode.EXPECTED_SHORTFALL,
    DenialCode.STRESS_LOSS,
    DenialCode.PROJECTED_DRAWDOWN,
):
    READS[_code] = [*PORTFOLIO, *OTHERS, ("market", "returns", _HISTORIES), ("market", "as_of", [None, "now", 0, True])]
_BOOKS = [
    None,
    "book",
    OrderBook(NOW),
    OrderBook(NOW, bids=((100.0, 1.0),), asks=((99.0, 1.0),)),
    OrderBook(NOW, bids=((math.nan, 1.0),), asks=((100.0, 1.0),)),
    OrderBook(NOW, bids=(("99", "1"),), asks=(("100", "1"),)),
    OrderBook(NOW, bids=((99.9, 100.0),), asks=((100.0, math.nan),)),
    OrderBook(NOW, bids=((99.9, 100.0),), asks=((100.0, -5.0),)),
    OrderBook(NOW, bids=((99.9, 100.0),), asks=((math.inf, 1.0),)),
]
READS[DenialCode.SPREAD] = [("market", "book", _BOOKS[:6] + _BOOKS[8:])]
READS[DenialCode.TOUCH_DEPTH] = [
    ("market", "book", [_BOOKS[0], _BOOKS[1], _BOOKS[2], *_BOOKS[5:8]]),
    ("order", "quantity", GARBAGE + ZEROS),
]
READS[DenialCode.BOOK_DEPTH] = list(READS[DenialCode.TOUCH_DEPTH])
READS[DenialCode.TOUCH_DEPTH].append(
    (
        "market",
        "book",
        [
            OrderBook(NOW, bids=BOOK.bids, asks=((100.05, 100.0), second))
            for second in [(math.nan, 1.0), ("100.05", 1.0), (None, 1.0), (100.05, math.nan), (100.05, -1.0), (100.05,)]
        ],
    )
)
READS[DenialCode.SLIPPAGE] = [
    ("order", "quantity", GARBAGE + ZEROS),
    ("market", "average_daily_volume", GARBAGE + ZEROS),
    ("market", "daily_volatility", GARBAGE),
]
READS[DenialCode.DAILY_VOLUME_SHARE] = [
    ("order", "quantity", GARBAGE + ZEROS),
    ("market", "average_daily_volume", [bad for bad in GARBAGE if bad != 1e308] + ZEROS),
]
READS[DenialCode.BAR_VOLUME_SHARE] = [
    ("order", "quantity", GARBAGE + ZEROS),
    ("market", "bar_volume", [bad for bad in GARBAGE if bad != 1e308] + ZEROS),
]
HELD = {"account": replace(ACCOUNT, positions={BTC: 1.0, "ETH/USDT": 1.0})}
CORRUPTIONS = [
    pytest.param(case, view, name, values, id=f"{case.code}-{view}-{name}")
    for case in ALL_CASES
    for view, name, values in READS.get(case.code, [])
]


@pytest.mark.parametrize(("case", "view", "name", "values"), CORRUPTIONS)
def test_a_gate_denies_unreadable_inputs_and_never_raises(case, view, name, values):
    gate = next(gate for gate in GATES if gate.code == case.code)
    limits = case.risk_limits()
    order, account, market = case.inputs(case.passed)
    if name == "marks":
        account = replace(account, positions={BTC: 0.0, "ETH/USDT": 1.0})
    parts = {"order": order, "account": account, "market": market}
    assert gate(*parts.values(), limits) is None
    for value in values:
        corrupt = parts | {view: replace(parts[view], **{name: value})}
        denial = gate(*corrupt.values(), limits)
        assert denial is not None, f"{name} = {value!r} passed"
        assert denial.code == case.code


amounts = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, math.nan, math.inf, -math.inf, 5e-324]),
    st.none(),
    st.text(max_size=2),
    st.booleans(),
    st.integers(),
    st.complex_numbers(),
)


def _all_limits() -> RiskLimits:
    return RiskLimits(
        max_data_age=60.0,
        duplicate_window=1.0,
        max_orders=5,
        max_same_side_fills=5,
        max_order_notional=5_000.0,
        max_price_deviation=0.05,
        max_symbol_exposure=0.5,
        max_gross_exposure=1.0,
        max_net_exposure=1.0,
        max_concentration=0.3,
        max_open_orders=5,
        max_daily_loss=500.0,
        max_daily_loss_fraction=0.05,
        max_drawdown=0.2,
        liquidity={"book": "declared", "max_bar_volume_share": 0.1},
        var={"max_expected_shortfall": 0.03, "refuse_red_zone": False},
        stress={},
    )


@settings(max_examples=examples(50), deadline=None)
@given(st.data())
def test_no_input_makes_the_chain_raise_and_no_unreadable_input_passes(data):
    limits = _all_limits()
    parts = {"order": ORDER, "account": ACCOUNT, "market": MARKET}
    view = data.draw(st.sampled_from(sorted(parts)))
    name = data.draw(st.sampled_from(parts[view].__struct_fields__))
    value = data.draw(amounts)
    corrupt = parts | {view: replace(parts[view], **{name: value})}
    chain = gate_chain(limits)
    answer = review(*corrupt.values(), chain, limits)
    one_by_one = [gate(*corrupt.values(), limits) for gate in chain]
    denied = () if isinstance(answer, ApprovedOrder) else answer
    assert repr(denied) == repr(tuple(denial for denial in one_by_one if denial is not None))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    may_be_absent = (view, name, value) in [("order", "limit_price", None), ("order", "stop_price", None)]
    is_amount = name in {"quantity", "equity", "decision_price", "bar_volume", "limit_price", "stop_price"}
    if is_amount and not is_number and not may_be_absent:
        assert not isinstance(answer, ApprovedOrder)


RELIEVED = [case for case in CASES if next(gate for gate in GATES if gate.code == case.code).relieves]


@pytest.mark.parametrize("case", RELIEVED, ids=lambda case: case.code.value)
def test_a_purely_reducing_order_passes_what_it_relieves_even_on_missing_input(case):
    gate = next(gate for gate in GATES if gate.code == case.code)
    account = replace(ACCOUNT, equity=math.nan, peak_equity=math.nan, day_start_equity=math.nan, throttled=("ma",))
    market = MarketView(NOW, MARKET.instrument, math.nan, math.nan, 0)
    assert gate(SELL, account, market, case.risk_limits()) is None


@pytest.mark.parametrize(
    "order",
    [replace(SELL, is_reducing=False), replace(SELL, side=Side.BUY), replace(SELL, quantity=1.1)],
    ids=["without the claim", "on the wrong side", "across zero"],
)
def test_an_order_that_does_not_purely_reduce_is_not_relieved(order):
    limits = RiskLimits(max_order_notional=1.0)
    answer = review(order, ACCOUNT, MARKET, gate_chain(limits), limits)
    assert not isinstance(answer, ApprovedOrder)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"account": {"state": TradingState.HALTED}}, DenialCode.TRADING_STATE),
        ({"order": {"quantity": 0.0}}, DenialCode.QUANTITY),
        ({"account": {"recent_orders": "damaged"}}, DenialCode.DUPLICATE_ORDER),
    ],
)
def test_state_instrument_and_duplicate_gates_apply_to_reducing_orders_too(change, code):
    limits = RiskLimits(duplicate_window=1.0)
    order = replace(SELL, **change.get("order", {}))
    account = replace(ACCOUNT, **change.get("account", {}))
    answer = review(order, account, MARKET, gate_chain(limits), limits)
    assert code in [denial.code for denial in answer]


def test_a_profit_never_trips_a_daily_loss_limit():
    limits = RiskLimits(max_daily_loss=500.0, max_daily_loss_fraction=0.05)
    account = replace(ACCOUNT, equity=10_600.0)
    assert isinstance(review(ORDER, account, MARKET, gate_chain(limits), limits), ApprovedOrder)


def test_exposure_counts_what_is_held_and_pending_and_not_the_order_alone():
    limits = RiskLimits(max_gross_exposure=0.05)
    held = replace(ACCOUNT, positions={BTC: 3.0}, pending=((BTC, 1.5),))
    gate = next(gate for gate in GATES if gate.code is DenialCode.GROSS_EXPOSURE)
    assert gate(ORDER, replace(held, pending=()), MARKET, limits) is None
    assert gate(ORDER, held, MARKET, limits).observed == pytest.approx(0.055, rel=1e-12)


def test_headroom_denial_and_explanation_share_one_number():
    for case in ALL_CASES:
        gate = next(gate for gate in GATES if gate.code == case.code)
        limits = case.risk_limits()
        for changes in (case.denied, case.passed):
            inputs = case.inputs(changes)
            denial, reading = gate(*inputs, limits), gate.read(*inputs, limits)
            assert reading.is_denied == (denial is not None)
            if denial is not None and not math.isnan(denial.observed):
                assert (denial.observed, denial.limit) == (reading.observed, reading.limit)
                assert reading.headroom < 0.0 or case.code is DenialCode.QUANTITY


def test_cases_use_the_types_of_the_gates():
    assert [type(part) for part in CASES[0].inputs({})] == [Order, AccountView, MarketView]
