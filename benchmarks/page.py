"""Write the results of a run of `make bench` into docs/benchmarks.md: `python -m benchmarks.page FILE...`.

Each FILE is that of `pytest --benchmark-json` of one file of benchmarks, under its name. The page states the machine,
its load and the versions of the libraries, and has a row per benchmark: seconds, the ratio to the other library with
its spread over the rounds, memory, and whether each target was met. A missed target, a library that is faster and a
file of benchmarks without a result stand there as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
START, END = "<!-- results: start -->\n", "\n<!-- results: end -->"
LIBRARIES = ("numpy", "pandas", "numba", "vectorbt", "hmmlearn", "mlflow", "pyarrow")
HEADS = ("job", "peak_trade, s", "peer", "peer, s", "ratio", "spread", "peak MiB", "targets")
OWN_RUNS = ("a_tenth_of_the_bars", "one_process", "one_thread", "reference", "sleeves", "without")
"""Peers that are peak_trade in another setting, not another library."""
CONDITIONS = """
A ratio above 1 means that peak_trade is the faster one; it is that of processor times where both are known. The spread
is the range of the ratio over the rounds, or of the time where there is no peer.

Lazy parts are not counted: a result keeps its events as columns, and the objects and the content digest are made when
they are read. The time to read them is not in the rows of the event loop. Imports and the compilation after an
installation are not counted either.
"""


def libraries(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Return the installed version of each library."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def results(runs: Sequence[Mapping[str, Any]], versions: Mapping[str, str], unmeasured: Sequence[str] = ()) -> str:
    """Return the results of runs on one machine as Markdown, from their JSON of pytest-benchmark.

    `unmeasured` names the files of benchmarks that have no result.
    """
    machine = runs[0]["machine_info"]
    cpu = machine.get("cpu", {})
    measured = [each for run in runs for each in run["benchmarks"]]
    loads = [each["extra_info"]["load"] for each in measured if "load" in each["extra_info"]]
    load = f"load {min(loads):.1f} to {max(loads):.1f}" if loads else "load unknown"
    days = sorted({run["datetime"][:10] for run in runs})
    facts = [
        f"Run of {' to '.join(dict.fromkeys((days[0], days[-1])))} at commit {_commits(runs)}: "
        f"{cpu.get('brand_raw', machine.get('processor', ''))}, "
        f"{cpu.get('count', '?')} cores, {load}, Python {machine['python_version']}, "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}.",
        CONDITIONS.strip(),
    ]
    rows = [_row(each) for each in measured]
    slower = [row for row in rows if row[4] and float(row[4]) < 1.0 and row[2] not in OWN_RUNS]
    ahead = [f"{row[0]} ({row[2]}, ratio {row[4]})" for row in slower]
    missed = [f"{row[0]} ({row[-1]})" for row in rows if "MISSED" in row[-1]]
    facts.append(f"**The other library is faster:** {'; '.join(ahead) or 'in no row'}.")
    facts.append(f"**Missed targets:** {'; '.join(missed) or 'none'}.")
    if unmeasured:
        facts.append(f"**Without a result in this run:** {', '.join(unmeasured)}.")
    lines = [HEADS, ["---"] * len(HEADS), *rows]
    facts.append("\n".join(f"| {' | '.join(cell or '–' for cell in line)} |" for line in lines))
    return "\n\n".join(facts)


def _commits(runs: Sequence[Mapping[str, Any]]) -> str:
    infos = [run["commit_info"] for run in runs]
    shown = [f"{info.get('id', 'unknown')[:10]}{' with changes' if info.get('dirty') else ''}" for info in infos]
    return ", ".join(dict.fromkeys(shown))


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    info, stats = each["extra_info"], each["stats"]
    timed = [key.removesuffix("_seconds") for key in info if key.endswith("_seconds")]
    peer = next((name for name in timed if name != "cpu" and not name.endswith("_cpu")), "")
    ours = info.get("seconds", stats["median"])
    ours = ours if isinstance(ours, int | float) else stats["median"]
    ratio, spread = "", f"{stats['min']:.3g} to {stats['max']:.3g} s"
    if peer:
        pair = (info.get("cpu_seconds"), info.get(f"{peer}_cpu_seconds"))
        own, other = pair if None not in pair else (ours, info[f"{peer}_seconds"])
        ratio = f"{other / own:.3g}"
        low, high = info.get(f"{peer}_ratio_spread", (None, None))
        spread = f"{low:.3g} to {high:.3g}" if low is not None else ""
    growths = [info[key] for key in ("growth_mib", f"{peer}_growth_mib") if isinstance(info.get(key), int | float)]
    targets = "; ".join(f"{text} {'met' if met else 'MISSED'}" for text, met in info.get("bars", ()))
    job = str(info.get("job") or each["name"].removeprefix("test_").replace("_", " "))
    memory = ", ".join(f"{max(growth, 0.0):,.0f}" for growth in growths if growth == growth)
    their = f"{info[f'{peer}_seconds']:.3g}" if peer else ""
    cells = (job, f"{ours:.3g}", peer, their, ratio, spread, memory, targets)
    return tuple(cell.replace("|", "¦") for cell in cells)


def written(text: str, shown: str) -> str:
    """Return the text of the page with other results."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{shown}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write the results of files into the page; a file of benchmarks without any is named there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="file of pytest --benchmark-json")
    files: list[Path] = parser.parse_args().results
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    names = {path.stem for path in files}
    unmeasured = [path.name for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.stem not in names]
    shown = results(runs, libraries(), unmeasured)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), shown), encoding="utf-8")


if __name__ == "__main__":
    main()
