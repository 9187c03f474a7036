"""Settings that contradict each other are refused in one line that names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings, check_leverage
from peak_trade.risk.limits import RiskLimits

RISK = {"kind": "fixed_risk"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"execution": {"stop_loss": 0.1, "stop_loss_atr": 2.0}}, "stop_loss and stop_loss_atr are both set"),
        ({"execution": {"take_profit": 0.1, "take_profit_atr": 2.0}}, "take_profit and take_profit_atr are both set"),
        ({"execution": {"trail": 0.1}}, "trail belongs to order_type trailing_stop"),
        ({"execution": {"order_type": "trailing_stop"}}, "trail belongs to order_type trailing_stop"),
        ({"sizing": RISK}, "sizing fixed_risk needs a stop"),
        ({"sizing": RISK | {"stop_distance": 0.2}, "execution": {"stop_loss": 0.1}}, "stop_distance was 0.2, and"),
        ({"sizing": RISK | {"stop_distance": 0.2}, "execution": {"trailing_stop": 0.2}}, "stop_loss is None"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BacktestSettings.parse(values, "run.toml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("stop", [{"stop_loss": 0.1}, {"stop_loss_atr": 2.0}, {"trailing_stop": 0.1}])
def test_each_kind_of_stop_is_enough_for_fixed_risk(stop: dict[str, float]) -> None:
    assert BacktestSettings.parse({"sizing": RISK, "execution": stop}, "run.toml").execution.has_stop


def test_a_scale_is_compared_with_the_least_leverage_and_a_limit_with_the_largest() -> None:
    low = Instrument("BTC/USDT")
    low, high = (replace(low, symbol=symbol, max_leverage=most) for symbol, most in (("A/B", 2.0), ("C/B", 5.0)))
    values = {"sizing": RISK, "execution": {"stop_loss": 0.1}}

    def check(scale: float, exposure: float) -> None:
        chosen = BacktestSettings.parse(values | {"sizing": RISK | {"max_scale": scale}}, "run.toml")
        check_leverage([high, low], chosen, RiskLimits(max_symbol_exposure=exposure))

    check(2.0, 5.0)
    with pytest.raises(ConfigError, match=r"^sizing\.max_scale was 3, and the max_leverage of A/B is 2\."):
        check(3.0, 5.0)
    with pytest.raises(ConfigError, match=r"^risk\.max_symbol_exposure was 6, and the max_leverage of C/B is 5\."):
        check(2.0, 6.0)
