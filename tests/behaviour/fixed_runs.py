"""A fixed set of runs and the digests of what they do, to show that a change of the code changes no behaviour.

`python -m tests.behaviour.fixed_runs` compares every run with `digests.json`; with `--write` it also rewrites the file.
The runs use the command line, `import peak_trade as pt`, the files in `config/` and the emulator. All other imports are
in `internals.py`.

A run has two digests. `content` covers everything that the run recorded except identifiers and times of the wall clock.
`figures` covers the numbers alone, so that a run in which only words changed keeps it. The counts and the final equity
help to read a difference. Digests are exact to the bit: they hold for the packages of `requirements.lock`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peak_trade as pt
from tests.behaviour import internals

DIGESTS = Path(__file__).with_name("digests.json")
CONFIG = Path(__file__).parents[2] / "config"
PORTFOLIO = CONFIG / "portfolios" / "multi_strategy_example.toml"
END = "2023-03-25"
"""End of the hourly runs: about 2,000 bars."""
SESSION_END = "2023-01-18"
"""End of the recorded sessions: about 400 bars."""
FEW_BARS = 70
"""Number of traded bars of the short testnet sessions."""
MANY_BARS = 140
"""Number of traded hours of the long ones: less than the week for which an approval is valid at most."""

Summary = dict[str, Any]

RUN_FILES = {
    "protected": (CONFIG / "backtest_protected_example.toml").read_text(encoding="utf-8"),
    "order_limits": f'[risk]\nfile = "{CONFIG / "risk_order_limits_example.toml"}"\n',
    "all_limits": f'[risk]\nfile = "{CONFIG / "risk.toml"}"\n',
    "liquidity_gate": (CONFIG / "risk_liquidity_gate_example.toml")
    .read_text(encoding="utf-8")
    .replace('"declared"', '"absent"'),
    "many_limits": """
[risk]
size_to_limits = true
max_symbol_exposure = 0.5
max_same_side_fills = 3
fill_window = 864000.0
max_daily_loss_fraction = 0.012
[risk.liquidity]
book = "absent"
max_spread = 0.005
max_slippage = 0.01
max_daily_volume_share = 0.02
max_bar_volume_share = 0.001
[risk.state]
reduce_drawdown = 0.06
cooldown = 7200.0
ramp_stage = 86400.0
""",
    "stress_gate": f'[risk]\nfile = "{CONFIG / "risk_stress_gate_example.toml"}"\n',
    "instrument": """
initial_cash = 500.0
[costs]
max_participation = 0.00001
[sizing]
kind = "volatility_target"
annual_volatility = 0.3
window = 48
[instruments."BTC/USDT"]
tick_size = 0.5
lot_size = 0.001
min_notional = 60.0
is_shortable = false
""",
    "stops_and_targets": """
intrabar = "best"
[execution]
order_type = "stop_limit"
stop_offset_bps = 4.0
limit_offset_bps = 6.0
stop_loss = 0.01
take_profit = 0.015
[sizing]
kind = "fixed_risk"
risk = 0.01
stop_distance = 0.01
""",
    "trailing_stop": """
[costs]
funding_bps_per_8h = 1.0
borrow_rate = 0.05
[execution]
no_trade_band = 0.05
trailing_stop = 0.02
""",
    "instrument_and_limits": """
initial_cash = 500.0
[risk]
size_to_limits = true
max_gross_exposure = 0.5
max_same_side_fills = 3
fill_window = 864000.0
[risk.state]
reduce_drawdown = 0.01
halt_drawdown = 0.03
cooldown = 7200.0
[instruments."BTC/USDT"]
tick_size = 0.5
lot_size = 0.001
min_notional = 10.0
""",
}
"""Run files by name; the examples of `config/` and some of this module's own."""

LIMITS = [name for name, text in RUN_FILES.items() if "[risk" in text]
"""The run files that set risk limits."""

FAST_FILES = ["protected", "all_limits", "many_limits", "instrument", "stops_and_targets"]
"""The run files of the fast runs: protection, every limit of `config/`, other limits, an instrument, stops, targets."""

FUTURES = {
    "strategy": "ma_crossover",
    "parameters": {"fast": 3, "slow": 9, "direction": "both"},
    "instrument": {"tick_size": 0.5, "lot_size": 0.0001},
    "trading": {"sizing": {"kind": "fraction_of_equity", "fraction": 0.5}},
    "risk": {"max_gross_exposure": 1.0, "max_open_orders": 20},
}
SPOT = {
    "strategy": "donchian",
    "parameters": {"window": 8},
    "instrument": {"tick_size": 0.01, "lot_size": 0.00001, "min_notional": 5.0, "is_shortable": False},
    "trading": {
        "sizing": {"kind": "fraction_of_equity", "fraction": 0.8},
        "execution": {"order_type": "limit", "limit_offset_bps": 3.0},
    },
    "risk": {"max_gross_exposure": 0.6, "size_to_limits": True, "max_same_side_fills": 6, "fill_window": 86400.0},
}


class Runs:
    """The fixed runs in a workspace that holds the sample bars; a session that several runs read is run once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.sessions: dict[str, str] = {}
        self.command("data", "sample")
        self.command("data", "resample", "--symbol", "BTC/USDT", "--exchange", "sample", "--to", "4h")

    @property
    def fast(self) -> dict[str, Callable[[], Summary]]:
        """Name and function of the runs that take a few seconds together."""
        return {
            **{f"strategy {name}": lambda name=name: self.strategy(name) for name in internals.STRATEGIES},
            **{f"backtest {name}": lambda name=name: self.run_file(name) for name in FAST_FILES},
            "portfolio sleeves": lambda: self.portfolio(),
            "portfolio netted": lambda: self.portfolio(('"sleeves"', '"netted"')),
            "session paper": lambda: self.events(self.paper("no_limits")),
            "session paper with limits": lambda: self.events(self.paper("instrument_and_limits")),
            "session shadow": lambda: self.events(self.shadow()),
            "diff, paper": self.paper_diff,
        }

    @property
    def slow(self) -> dict[str, Callable[[], Summary]]:
        """Name and function of the runs that take longer."""
        return {
            **{
                f"backtest {name}": lambda name=name: self.run_file(name)
                for name in RUN_FILES
                if name not in FAST_FILES
            },
            **{f"backtest {name}, long": lambda name=name: self.run_file(name, direction="long") for name in LIMITS},
            "backtest all_limits over two years": lambda: self.run_file("all_limits", "4h", None, "long"),
            "backtest stress_gate over two years": lambda: self.run_file("stress_gate", "4h", None, "long"),
            "portfolio netted on one symbol": lambda: self.portfolio(
                ('"sleeves"', '"netted"'), ("ETH/USDT", "BTC/USDT"), ("SOL/USDT", "BTC/USDT")
            ),
            "session paper with protection": lambda: self.events(self.paper("protected")),
            "replay": self.replay,
            "session testnet, spot, few bars": lambda: self.events(self.spot(FEW_BARS)),
            "session testnet, futures, few bars": lambda: self.events(self.futures(FEW_BARS)),
            "session testnet, spot": lambda: self.events(self.spot(MANY_BARS)),
            "session testnet, futures": lambda: self.events(self.futures(MANY_BARS)),
            "session testnet, demo": lambda: self.events(self.demo_session("testnet")),
            "session shadow, demo": lambda: self.events(self.demo_session("shadow")),
            "diff, demo": self.demo_diff,
            "sweep": self.sweep,
            **{f"regime {name}": lambda name=name: self.regime(name) for name in internals.DETECTORS},
        }

    def command(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command of the command line in this process and return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = internals.command_line(list(words))
        if code not in codes:
            raise AssertionError(f"peak-trade {' '.join(words)}: exit code {code}\n{printed.getvalue()}")
        return printed.getvalue()

    def json(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        """Run a command with `--json` and return what it prints as a value."""
        return json.loads(self.command(*words, "--json", codes=codes))

    def strategy(self, name: str) -> Summary:
        """Backtest a strategy with its defaults."""
        bars = pt.load_bars("BTC/USDT", "1h", "sample", None, END)
        return summary_of(pt.backtest(pt.make_strategy(name), bars))

    def run_file(self, name: str, timeframe: str = "1h", end: str | None = END, direction: str = "both") -> Summary:
        """Backtest a strategy under a run file."""
        words = ["--strategy", "ma_crossover", "-p", f"direction={direction}", "-p", "fast=12", "-p", "slow=48"]
        words += ["--symbol", "BTC/USDT", "--timeframe", timeframe, "--exchange", "sample", "--no-record"]
        words += ["--config", str(self.file(name))] + ([] if end is None else ["--end", end])
        return self._of_run(self.json("backtest", *words))

    def portfolio(self, *changes: tuple[str, str]) -> Summary:
        """Run the example portfolio with changes of its text."""
        text = PORTFOLIO.read_text(encoding="utf-8").replace('timeframe = "1h"', f'timeframe = "1h"\nend = "{END}"')
        for old, new in changes:
            text = text.replace(old, new)
        path = self.home / "portfolio.toml"
        path.write_text(text, encoding="utf-8")
        return self._of_run(self.json("portfolio", "--config", str(path), "--no-record"))

    def paper(self, name: str) -> str:
        """Run a recorded paper session once and return its id."""
        words = ["--mode", "paper", "--feed", "recorded", "--exchange", "sample", "--symbol", "BTC/USDT"]
        words += ["--timeframe", "1h", "--end", SESSION_END, "-p", "fast=5", "-p", "slow=20", "-p", "direction=both"]
        config = [] if name == "no_limits" else ["--config", str(self.file(name))]
        return self._session(f"paper {name}", "--strategy", "ma_crossover", *words, *config)

    def shadow(self) -> str:
        """Run a shadow of the paper session without limits once, with another fee, and return its id."""
        path = self.home / "shadow.toml"
        path.write_text("[costs]\nfee_bps = 14.0\n", encoding="utf-8")
        followed = self.paper("no_limits")
        return self._session(
            "shadow", "--mode", "shadow", internals.FOLLOW_OPTION, followed, "--config", str(path)
        )  # fmt: skip

    def spot(self, n_traded: int) -> str:
        """Run a testnet session of this many bars at the spot exchange of the emulator and return its folder."""
        return self._testnet("binance", "BTC/USDT", SPOT, n_traded)

    def futures(self, n_traded: int) -> str:
        """Run a testnet session of this many bars at the futures exchange of the emulator and return its folder."""
        return self._testnet("krakenfutures", "BTC/USD:USD", FUTURES, n_traded)

    def demo_session(self, mode: str) -> str:
        """Run the demo's pair of sessions once and return the folder of the one in this mode."""
        with contextlib.redirect_stderr(io.StringIO()):
            pair = internals.run_demo(self.home / "demo")
        return next(str(folder) for folder in pair if f"_{mode}_" in folder.name)

    def events(self, session: str) -> Summary:
        """Summarise a session, by its id or folder, by its events."""
        folder = self.home / "sessions" / session
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line.replace(folder.name, "SESSION"))["event"] for line in lines]
        kept = [event for event in found if event["kind"] != "latency"]
        for event in kept:
            if event["kind"] == "session":
                del event["ts_event"]  # the wall clock's
        stopped = [event["equity"] for event in kept if event["kind"] == "session" and "equity" in event]
        return summarise(
            kept,
            kept,
            n_events=len(kept),
            n_fills=sum(event.get("last_quantity", 0.0) > 0.0 for event in kept),
            n_denials=sum(event.get("event") == "DENIED" for event in kept),
            equity=stopped[-1],
        )

    def replay(self) -> Summary:
        """Replay the paper sessions."""
        names = [self.paper("no_limits"), self.paper("instrument_and_limits"), self.paper("protected"), self.shadow()]
        found = [self.json("replay", "--session", name) for name in names]
        for each in found:
            each.pop("session_id")
        return summarise(found, found, is_identical=all(each["is_identical"] for each in found))

    def demo_diff(self) -> Summary:
        """Compare the demo's shadow with its testnet session."""
        shadow, live = (Path(self.demo_session(mode)).name for mode in ("shadow", "testnet"))
        with internals.in_workspace(self.home / "demo"):
            return self._diff(shadow, live)

    def paper_diff(self) -> Summary:
        """Compare the shadow with the paper session, which differ in the fee."""
        return self._diff(self.shadow(), self.paper("no_limits"))

    def sweep(self) -> Summary:
        """Sweep a moving-average crossover."""
        words = ["--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--exchange", "sample", "--end", END]
        words += ["-p", "fast=5,10,20,40", "-p", "slow=15,30,60", "--top", "12", "--no-record"]
        found = self.json("sweep", *words)
        winner = found.pop("winner")["stats"]
        for name in ("run_id", "n_trials", "trials"):
            found.pop(name)
        for row in found["best"]:
            row.pop("run_id")
        return summarise([found, winner], [found, winner], n_sets=found["n_sets"])

    def regime(self, name: str) -> Summary:
        """Study the regimes that a detector finds with its defaults, and a strategy that follows them."""
        bars = pt.load_bars("BTC/USDT", "4h", "sample")
        detector = pt.make_detector(name, bars.timeframe)
        study = pt.study_regimes(pt.make_strategy("ma_crossover", {"fast": 12, "slow": 48}), bars, detector)
        p_value, _ = study.shift_test()
        tables = [study.table(), study.transitions()]
        arrays = [numbers_of(table).to_numpy(dtype=float, na_value=float("nan")) for table in tables]
        figures = [
            digits_of(study.filtered.probabilities),
            study.filtered.labels.tobytes().hex(),
            p_value,
            *map(digits_of, arrays),
        ]
        facts = summary_of(study.result)
        return facts | {
            "content": digest_of([facts["content"], *figures]),
            "figures": digest_of([facts["figures"], *figures]),
        }

    def file(self, name: str) -> Path:
        """Write a run file into the workspace and return its path."""
        path = self.home / f"{name}.toml"
        path.write_text(RUN_FILES[name], encoding="utf-8")
        return path

    def _testnet(self, exchange: str, symbol: str, settings: dict[str, Any], n_traded: int) -> str:
        held = pt.load_bars("BTC/USDT", "1h", "sample", None, SESSION_END)
        bars = pt.Bars(held.frame, symbol, held.timeframe, exchange)
        home = self.home / f"emulated-{exchange}-{n_traded}"
        return str(internals.trade_at_the_emulator(home, bars, settings, 100, n_traded))

    def _session(self, key: str, *words: str) -> str:
        if key not in self.sessions:
            before = {each["session_id"] for each in self.json("session", "list")}
            self.command("session", "run", *words, "--no-record", "--quiet")
            (name,) = {each["session_id"] for each in self.json("session", "list")} - before
            self.sessions[key] = name
        return self.sessions[key]

    def _of_run(self, found: dict[str, Any]) -> Summary:
        figures = [found[name] for name in ("stats", "benchmark", "attribution", "correlations") if name in found]
        return {
            "content": found["content_digest"],
            "figures": digest_of(list(numbers_in(figures))),
            "n_fills": int(found["stats"]["n_fills"]),
            "total_return": found["stats"]["total_return"],
        }

    def _diff(self, shadow: str, live: str) -> Summary:
        text = self.command("diff", shadow, live, "--json", codes=(0, 1))
        found = json.loads(text.replace(shadow, "SHADOW").replace(live, "LIVE"))
        return summarise(found, found, n_roots=found["n_roots"], n_differences=found["n_differences"])


def summary_of(result: Any) -> Summary:
    """Summarise the result of a backtest."""
    figures = [result.equity.to_numpy().tobytes().hex(), numbers_of(result.fills).to_numpy(dtype=float).tobytes().hex()]
    return {
        "content": result.content_digest,
        "figures": digest_of(figures),
        "n_events": len(result.events),
        "n_fills": len(result.fills),
        "equity": float(result.equity.iloc[-1]),
    }


def summarise(content: Any, figures: Any, **facts: Any) -> Summary:
    """Return both digests of JSON values, and facts that help to read a difference."""
    return {"content": digest_of(content), "figures": digest_of(list(numbers_in(figures))), **facts}


def numbers_of(frame: Any) -> Any:
    """Return the columns of a frame that hold numbers."""
    return frame.select_dtypes("number")


def digits_of(array: Any) -> list[str]:
    """Return the numbers of an array to 9 digits: logarithms differ in the last one between processors."""
    return [f"{number + 0.0:.9g}" for number in array.ravel().tolist()]


def numbers_in(value: Any) -> Iterator[float | int | bool]:
    """Yield every number of a JSON value, in order."""
    if isinstance(value, bool | int | float):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value; floats count to the bit."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(recorded: dict[str, Summary], found: dict[str, Summary]) -> list[str]:
    """Return one line for every run that differs: its name, and each fact before and after."""
    lines = []
    for name in sorted(recorded.keys() | found.keys()):
        before, after = recorded.get(name, {}), found.get(name, {})
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        if changed:
            words = "words alone" if changed == ["content"] else "behaviour"
            shown = "; ".join(f"{key} {_short(before.get(key))} -> {_short(after.get(key))}" for key in changed)
            lines.append(f"{name}: {words}: {shown}")
    return lines


def read_digests() -> dict[str, Summary]:
    """Return the recorded digests."""
    found: dict[str, Summary] = json.loads(DIGESTS.read_text(encoding="utf-8"))
    return found


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else str(value)


def main(words: list[str]) -> int:
    """Run everything in a workspace of its own and print what differs from the file; `--write` rewrites it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PEAK_TRADE_HOME"] = folder
        os.chdir(folder)
        runs = Runs(Path(folder))
        found = {name: run() for name, run in (runs.fast | runs.slow).items()}
    recorded = read_digests() if DIGESTS.is_file() else {}
    changed = differences(recorded, found)
    for line in changed:
        print(line)  # noqa: T201
    print(f"{len(found)} runs, {len(changed)} differ.")  # noqa: T201
    if "--write" in words:
        DIGESTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if changed and "--write" not in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
