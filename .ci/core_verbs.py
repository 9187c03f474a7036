"""Call every verb where only the core of peak_trade is installed: each one works, or names the extra that it needs.

`.ci/wheel` runs this in an empty folder, without the repository.
"""

import contextlib
import io
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from peak_trade.cli import main
from peak_trade.cli.app import root
from peak_trade.cli.reference import contexts
from peak_trade.core.extras import EXTRAS

LEAVES = {
    context.command_path.removeprefix("peak-trade ")
    for context in contexts(root(), "peak-trade", None)
    if not hasattr(context.command, "commands")
}
BTC = "--symbol BTC/USDT --exchange sample --timeframe 1h"
STUDY = f"--strategy ma_crossover {BTC} --end 2023-03-01"
PORTFOLIO = """
[[strategies]]
name = "ma_crossover"
symbol = "BTC/USDT"
[strategies.parameters]
fast = 5
slow = 20
"""
ORDERS = """order_id,time,end_time,symbol,side,type,quantity,status,executed,price
1,2024-01-01 00:00:00,2024-01-01 00:00:01,BTC/USDT,BUY,MARKET,0.5,FILLED,0.5,42000
"""
called: set[str] = set()
failures: list[str] = []


def call(words: str, *codes: int, says: str = "") -> str:
    """Call a verb, check its exit code (0 by default) and its one line of an error, and return what it prints."""
    called.update(verb for verb in LEAVES if f"{words} ".startswith(f"{verb} "))
    shown, refused = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(refused):
        code = main(words.split())
    text = refused.getvalue()
    n_errors = sum(line.startswith("peak-trade: ") for line in text.splitlines())
    if code not in (codes or (0,)) or says not in text or "Traceback" in text or (code == 2 and n_errors != 1):
        failures.append(f"peak-trade {words}: exit code {code}, expected {codes or 0} and {says!r}\n{text}")
    return shown.getvalue()


def extra(words: str, name: str) -> None:
    """Call a verb that needs an extra, which its error names, and check that it writes nothing."""
    before = set(Path().rglob("*"))
    call(words, 2, says=f'pip install "peak-trade[{name}]"')
    left = {path for path in set(Path().rglob("*")) - before if path.suffix != ".lock"}
    if left:
        failures.append(f"peak-trade {words}: it was refused and wrote {sorted(map(str, left))}")


def ids(text: str) -> list[str]:
    """Return the ids of runs or sessions of a list."""
    return re.findall(r"^\s*([0-9a-f]{12,}|\d{8}_\S+)", text, re.MULTILINE)


def check() -> None:
    """Call every verb."""
    there = sorted(name for name in EXTRAS if find_spec(name))
    if there:
        sys.exit(f"the core has packages of extras: {', '.join(there)}")
    for verb in sorted(LEAVES):
        call(f"{verb} --help")
    called.clear()

    call("init .")
    call("data sample")
    call("data list")
    Path("orders.csv").write_text(ORDERS, encoding="utf-8")
    call(f"data check {BTC}")
    call("data resample --symbol BTC/USDT --exchange sample --to 4h")
    call("data import orders.csv --symbol BTC/USDT --timeframe 1h --exchange other", 2)
    call(f"data import-columns orders.csv {BTC}", 2)
    call("data list-columns")
    call(f"data remove-columns interest {BTC}", 2)
    call(f"data join {BTC} --earlier ETH/USDT --ratio 1", 2)
    call("data remove --symbol BTC/USDT --exchange sample --timeframe 4h")
    call("strategies list")
    call("strategies show ma_crossover")
    call("new strategy reversal")
    call("new notebook own")
    call("check strategy ma_crossover --bars 300")
    call("check limits config/risk.toml")

    call(f"backtest {STUDY}")
    call(f"backtest {STUDY} -p fast=5 -p slow=20")
    call(f"sweep {STUDY} -p fast=5,6 -p slow=20 --no-record")
    call(f"walk-forward {STUDY} -p fast=5,6 -p slow=20 --train 14d --test 7d --no-record")
    Path("portfolio.toml").write_text(PORTFOLIO, encoding="utf-8")
    call("portfolio --config portfolio.toml --no-record")
    call(f"regime {STUDY} --detector rules --no-record")
    extra(f"backtest {STUDY} --second-opinion", "lab")
    extra(f"regime {STUDY} --report", "lab")
    extra(f"sweep {STUDY} -p fast=5,6 -p slow=20 --method search --sets 2", "optuna")
    extra(f"sweep {STUDY} -p fast=5,6 -p slow=20 --cluster tcp://127.0.0.1:8786", "dask")

    runs = call("runs list")
    one, other = ids(runs)[:2]
    call(f"runs show {one}")
    call(f"runs compare {one} {other}")
    call(f"runs rerun {one}")
    call(f"runs verify {one}")
    call(f"runs export {one} --to bundle")
    call(f"costs fit {one}")
    extra("runs sync", "lab")

    Path("run.toml").write_text('[risk]\nfile = "config/risk.toml"\n', encoding="utf-8")
    call(f"session run --feed recorded {STUDY} --no-record --config run.toml")
    session = ids(call("session list"))[0]
    call(f"session show {session}")
    call(f"replay --session {session}")
    call(f"diff {session} {session}")
    call(f"session resume {session}", 2, says="seal")
    extra(f"session run --feed recorded {STUDY} --metrics-port 9108", "observability")
    call(f"audit verify {session}")
    call(f"audit prove {session} 1 --output proof.json")
    call("audit check proof.json")
    call("audit export --output trail.csv")
    call("audit import orders.csv")
    call("audit tidy")
    call("audit spec")
    call(f"risk explain {session}/o-1")
    call("risk state")
    call("risk drill --by ada", 0, 1)
    call("risk kill --by ada")
    call("risk recover --by ada", 2)
    call("risk enable cash --by ada", 2)
    call("ready --config config/live_policies.toml --stage shadow", 1)
    call("approve --new-key ada.pem")
    call("policy sign config/live_policies.toml --key ada.pem", 2)
    call("policy adopt config/live_policies.toml", 2)
    call("governance log")
    call("governance verify")

    extra(f"alerts rehearse {session}", "observability")
    extra("metrics serve --port 0", "observability")
    call("report list")
    call("report list --notebooks")
    extra("report run strategy_backtest -p symbol=BTC/USDT", "lab")
    extra("report batch config/reports/ma_crossover.toml", "lab")
    extra("site build", "lab")
    extra("site serve --port 0", "server")
    call("site publish --to pages", 2)
    call("site verify pages", 2)
    call("data fetch --symbol BTC/USDT --timeframe 1h --exchange binance --days 1", 2)
    call("health", 2, says="checkout")
    call("holdout status")
    call(f"holdout seal {BTC} --start 2024-06-01")
    failures.extend(f"not called: {verb}" for verb in sorted(LEAVES - called))


if __name__ == "__main__":
    check()
    if failures:
        sys.exit("\n".join(failures))
    sys.stdout.write(f"{len(LEAVES)} verbs work without extras, or name the one that they need\n")
