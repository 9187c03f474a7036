"""The command tree: loaded lazily, completed by the shell, and described in one form."""

from __future__ import annotations

import ast
import gc
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import peak_trade
from peak_trade.cli import main
from peak_trade.cli.app import COLLECTOR_THRESHOLD, VERBS, root
from peak_trade.cli.reference import contexts
from peak_trade.data.sample import SEED, sample_bars
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from peak_trade.tracking import record_run
from tests.tracking.test_registry import run_of

ROOT = Path(__file__).parents[2]
TREE = {context.command_path: context for context in contexts(root(), "peak-trade", None)}
GROUPS = {path: context for path, context in TREE.items() if hasattr(context.command, "commands")}
LEAVES = {path: context for path, context in TREE.items() if path not in GROUPS}
IMPERATIVES = {
    "Backtest", "Build", "Check", "Compare", "Compress", "Create", "Detect", "Enable", "Estimate", "Explain", "Export",
    "Fetch",
    "Halt", "Import", "Join", "List", "Make", "Print", "Prove", "Recompute", "Remove", "Render", "Research,", "Resume",
    "Run", "Run,", "Serve", "Show", "Sign", "Store", "Verify", "Verify,", "Adopt", "Choose", "Seal", "Import,", "List,",
    "Write",
}  # fmt: skip
HEAVY = {"numpy", "pandas", "numba", "scipy", "pydantic", "rich", "mlflow", "plotly", "pyarrow", "ccxt", "vectorbt"}
LONGEST_SUMMARY = 60
"""Characters of a summary that fit beside the name of a verb in 80 columns."""


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def summary_of(context: typer.Context) -> str:
    return (context.command.help or "").partition("\n")[0]


def test_the_help_of_the_command_imports_no_verb() -> None:
    program = "import sys; from peak_trade.cli import main; main(['--help']); print(*sys.modules)"
    modules = python(program).splitlines()[-1].split()
    assert {f"peak_trade.cli.{name}" for name in VERBS} & set(modules) == set()


@pytest.mark.long
def test_the_help_of_every_verb_imports_nothing_heavy() -> None:
    program = "import sys; from peak_trade.cli.reference import reference; reference(); print(*sys.modules)"
    modules = {name.partition(".")[0] for name in python(program).split()}
    assert modules & HEAVY == set()


@pytest.mark.long
def test_lists_of_runs_and_sessions_import_no_library_that_they_do_not_need(registry: Path) -> None:
    record_run(run_of("aa11"))
    lists = "main(['runs', 'list']), main(['session', 'list'])"
    output = python(f"import sys; from peak_trade.cli import main; print({lists}, *sys.modules)", COLUMNS="200")
    *table, modules = output.splitlines()
    assert any(line.startswith("aa11") for line in table)
    assert modules.startswith("0 0 ")
    assert {name.partition(".")[0] for name in modules.split()} & HEAVY == {"numpy", "pydantic", "rich"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("peak-trade data re", ["remove", "resample", "remove-columns"]),
        ("peak-trade ba", ["backtest"]),
        ("peak-trade backtest --second", ["--second-opinion"]),
        ("peak-trade strategies show m", ["ma_crossover", "macd", "mean_reversion", "momentum"]),
        ("peak-trade session run --mode ", ["paper", "shadow", "testnet"]),
        ("peak-trade --ver", ["--version"]),
    ],
)
def test_the_shell_completes_verbs_options_choices_and_strategies(
    words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_PEAK_TRADE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert main([]) == 0
    assert capsys.readouterr().out.split() == expected


@pytest.mark.long
def test_bash_completes_with_the_script_that_the_command_prints(tmp_path: Path) -> None:
    command = tmp_path / "peak-trade"
    program = f"#!{sys.executable}\nimport sys\nfrom peak_trade.cli import main\nsys.exit(main())\n"
    command.write_text(program, encoding="utf-8")
    command.chmod(0o755)
    script = """
        set -e
        script=$(peak-trade --show-completion)
        eval "$script"
        complete -p peak-trade
        COMP_WORDS=(peak-trade stra) COMP_CWORD=1
        _peak_trade_completion peak-trade
        echo "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["strategies"]
    assert done.stdout.splitlines()[0].endswith("-F _peak_trade_completion peak-trade")


def test_the_program_collects_cycles_less_often_and_the_library_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = gc.get_threshold(), []

    def scan_store() -> tuple[list[object], dict[object, object]]:
        seen.append(gc.get_threshold())
        raise OSError("no list")

    monkeypatch.setattr("peak_trade.data.store.scan_store", scan_store)
    assert main(["data", "list"]) == 2
    assert seen == [COLLECTOR_THRESHOLD]
    assert seen[0][0] > before[0]
    backtest(BuyAndHold(), sample_bars("BTC/USDT", n_bars=50))
    assert gc.get_threshold() == before
    assert gc.isenabled()


def test_the_version_is_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (f"peak-trade {peak_trade.__version__}\n", "")


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_of_a_verb_is_that_of_its_own_help(name: str) -> None:
    assert VERBS[name] == summary_of(TREE[f"peak-trade {name}"])


def test_the_verbs_of_the_tree_are_those_of_the_table_and_have_plain_names() -> None:
    assert {path.split()[1] for path in TREE if path != "peak-trade"} == set(VERBS)
    names = {name for path in TREE for name in path.split()[1:]}
    assert [name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


@pytest.mark.parametrize("path", TREE)
def test_a_summary_is_one_short_imperative_sentence(path: str) -> None:
    summary = summary_of(TREE[path])
    assert summary.split()[0] in IMPERATIVES
    assert summary.endswith(".")
    assert summary.count(". ") == 0
    assert len(summary) <= LONGEST_SUMMARY


@pytest.mark.parametrize("path", GROUPS)
def test_the_help_of_a_group_shows_every_summary_whole(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = GROUPS[path]
    narrow = typer.Context(context.command, info_name=context.info_name, parent=context.parent, terminal_width=80)
    assert "..." not in narrow.get_help().replace("ARGS]...", "")


@pytest.mark.parametrize("path", LEAVES)
def test_a_verb_has_an_example_that_parses_and_states_its_exit_codes(path: str) -> None:
    help_text = LEAVES[path].command.help or ""
    examples = re.findall(rf"^    ({path}.*)$", help_text, flags=re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example, comments=True)
        arguments = words[len(path.split()) :]
        if ">" in arguments:
            arguments = arguments[: arguments.index(">")]
        with LEAVES[path].command.make_context(path, arguments):
            pass
    assert re.search(r"^Exits 0", help_text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_and_argument_has_help(path: str) -> None:
    for parameter in LEAVES[path].command.params:
        text = getattr(parameter, "help", None) or ""
        assert re.match(r"[A-Z\[a-z].*[.]$", text, flags=re.DOTALL), (path, parameter.name, text)


@pytest.mark.parametrize("path", LEAVES)
def test_json_is_one_option_with_one_meaning(path: str) -> None:
    found = [parameter for parameter in LEAVES[path].command.params if "--json" in parameter.opts]
    if path == "peak-trade audit spec":
        assert found == []
    else:
        assert [getattr(parameter, "help", "") for parameter in found] == ["Print the result as JSON."]


def test_the_default_seed_of_the_samples_is_the_documented_one() -> None:
    (seed,) = [each for each in LEAVES["peak-trade data sample"].command.params if each.name == "seed"]
    assert getattr(seed, "show_default", None) == str(SEED)


def test_a_function_of_a_verb_imports_at_most_two_modules_and_the_module_nothing_heavy() -> None:
    for name in VERBS:
        tree = ast.parse((ROOT / "peak_trade" / "cli" / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            imports = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            assert len(imports) <= 2, f"{name}.{function.name}"


@pytest.mark.parametrize("group", [path.removeprefix("peak-trade").split() for path in GROUPS], ids=" ".join)
def test_a_group_without_a_verb_shows_its_help_and_exits_2(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(group) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Usage: peak-trade")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bakctest"], "No such command 'bakctest'. Did you mean 'backtest'? See `peak-trade --help`."),
        (["data", "lst"], "No such command 'lst'. Did you mean 'list'? See `peak-trade data --help`."),
        (["sweep", "--top", "0"], "--top: Input should be greater than or equal to 1. See `peak-trade sweep --help`."),
        (["init"], "Missing argument 'DIR'. See `peak-trade init --help`."),
        (["init", "a", "b"], "Unexpected arguments (b). See `peak-trade init --help`."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_get_one_line_that_names_their_help(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"peak-trade: {message}\n"
