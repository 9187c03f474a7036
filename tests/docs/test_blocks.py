"""Every block of code in the documents runs or says why not, and every command that they name exists."""

from __future__ import annotations

import re
import shlex
from functools import cache

import pytest

from peak_trade.cli.app import root
from peak_trade.cli.reference import contexts
from tests.docs.blocks import PAGES, ROOT, RUN, SHOWN, blocks_of, commands, is_shown_by

IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_a_block_has_a_language_that_runs_or_is_shown(path):
    text = path.read_text(encoding="utf-8")
    found = blocks_of(text)
    assert len(found) * 2 == len(re.findall(r"^```", text, flags=re.MULTILINE)), "a fence is not closed"
    assert [(block.line, block.language) for block in found if block.language not in RUN + SHOWN] == []
    assert [block.line for block in found if block.language == "console" and not block.body.startswith("$ ")] == []


def indented_blocks(text):
    """Return the first lines of blocks that are indented in place of fenced: no language says whether they run."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [part for part in re.findall(r"(?:\A|\n)[^\s*\-\d].*\n\n    (\S.*)", plain)]


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_no_block_is_indented(path):
    assert indented_blocks(path.read_text(encoding="utf-8")) == []


def test_blocks_marks_and_files_are_found():
    text = (
        "Save this as `a.toml`:\n\n```toml\na = 1\n```\n\n<!-- not run: a server -->\n```console\n$ x --y\nout\n"
        "$ z\n```\n\nText.\n\n    x\n"
    )
    one, other = blocks_of(text)
    assert (one.saved_as, one.not_run, one.line) == ("a.toml", "", 3)
    assert (other.saved_as, other.not_run) == ("", "a server")
    assert list(commands(other)) == [("x --y", ["out"]), ("z", [])]
    assert indented_blocks(text) == ["x"]
    assert is_shown_by(["a", "b", "c"], ["a", "…"])
    assert is_shown_by(["a", "c"], ["a", "…", "c"])
    assert not is_shown_by(["a", "b"], ["a"])


@cache
def verbs():
    """Return the options of each command and group by its path."""
    found = {}
    for context in contexts(root(), "peak-trade", None):
        options = {name for each in context.command.params for name in (*each.opts, *each.secondary_opts)}
        found[context.command_path] = {name for name in options if name.startswith("-")} | {"--help"}
    return found


def fault(command):
    """Return why `peak-trade …` is no command of today, or None."""
    command = re.split(r" [|>&]|\s+#", command)[0]
    try:
        words = shlex.split(command)
    except ValueError:
        return "its quotes are not closed"
    path, left = "peak-trade", words[1:]
    while left and f"{path} {left[0]}" in verbs():
        path, left = f"{path} {left[0]}", left[1:]
    is_group = any(other.startswith(f"{path} ") for other in verbs())
    if is_group and left and re.fullmatch(r"[a-z][a-z-]+", left[0]):
        return f"{path} has no command {left[0]}"
    unknown = [word for word in left if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in verbs()[path]]
    return f"{path} has no option {unknown[0]}" if unknown else None


def named_commands(text):
    """Return every `peak-trade …` of a page: those of blocks and those in the text."""
    found = [command for block in blocks_of(text) if block.language == "console" for command, _ in commands(block)]
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    found += re.findall(r"`((?:\.venv/bin/)?peak-trade\s[^`]+)`", plain)
    return [
        " ".join(each.removeprefix(".venv/bin/").split())
        for each in found
        if re.match(r"(?:\.venv/bin/)?peak-trade\s", each)
    ]


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=[*IDS, "CHANGELOG.md"])
def test_every_named_command_exists_with_its_options(path):
    named = named_commands(path.read_text(encoding="utf-8"))
    assert [(command, why) for command in named if (why := fault(command))] == []


def test_a_wrong_command_is_found():
    assert fault("peak-trade data smaple") == "peak-trade data has no command smaple"
    assert fault("peak-trade backtest --sybmol BTC/USDT") == "peak-trade backtest has no option --sybmol"
    assert fault("peak-trade backtest --symbol=BTC/USDT -p fast=1 | head") is None
    assert fault("peak-trade session run --mode paper") is None
    assert named_commands("`peak-trade\n runs list`, ```x```") == ["peak-trade runs list"]
