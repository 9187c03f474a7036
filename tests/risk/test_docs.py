"""The page on risk gates agrees with the code."""

from pathlib import Path

from peak_trade.risk.codes import DenialCode
from peak_trade.risk.scenarios import SCENARIO_NAMES
from peak_trade.wiring.gate_page import with_table

PAGE = (Path(__file__).parents[2] / "docs" / "risk.md").read_text(encoding="utf-8")


def test_the_table_of_codes_is_current():
    assert with_table(PAGE) == PAGE, "run `python -m peak_trade.wiring.gate_page`"


def test_every_code_and_every_risk_file_is_documented():
    assert [code for code in DenialCode if f"`{code}`" not in PAGE] == []
    config = Path(__file__).parents[2] / "config"
    assert [path.name for path in sorted(config.glob("risk*.toml")) if path.name not in PAGE] == []
    assert len(SCENARIO_NAMES) == 11
