"""Former names of options and JSON keys work for one version, and one line names the current one."""

from __future__ import annotations

import pytest

from peak_trade.cli import deprecated, output
from peak_trade.cli.app import root
from peak_trade.cli.reference import contexts

TREE = {context.command_path.removeprefix("peak-trade "): context for context in contexts(root(), "peak-trade", None)}
NOTE = "peak-trade: note: --beside is deprecated and will be removed in the next version. Use --follow.\n"


@pytest.mark.parametrize(
    ("given", "expected", "notes"),
    [
        ("session run --beside s", "session run --follow s", NOTE),
        ("session run --quiet --beside=s", "session run --quiet --follow=s", NOTE),
        ("session run --follow s", "session run --follow s", ""),
        ("session show --beside", "session show --beside", ""),
        ("session run -- --beside", "session run -- --beside", ""),
        ("--help", "--help", ""),
        ("", "", ""),
    ],
)
def test_a_former_option_becomes_the_current_one(
    given: str, expected: str, notes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deprecated.with_current_options(given.split()) == expected.split()
    output.show_notes()
    assert capsys.readouterr().err == notes


@pytest.mark.parametrize("verb", deprecated.OPTIONS)
def test_a_current_option_exists_and_a_former_one_does_not(verb: str) -> None:
    names = {name for parameter in TREE[verb].command.params for name in parameter.opts}
    for former, current in deprecated.OPTIONS[verb].items():
        assert current in names
        assert former not in names


def test_content_has_former_keys_and_one_note_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"new": [{"inner": 1}, {"inner": 2}], "other": {"deep": {"name": 3}}}
    renamed = {"old": "new", "new.former": "new.inner", "other.deep.label": "other.deep.name"}
    assert deprecated.with_former_keys(content, renamed) == {
        "new": [{"inner": 1, "former": 1}, {"inner": 2, "former": 2}],
        "old": [{"inner": 1, "former": 1}, {"inner": 2, "former": 2}],
        "other": {"deep": {"name": 3, "label": 3}},
    }
    output.show_notes()
    assert capsys.readouterr().err == (
        "peak-trade: note: these JSON keys are deprecated and will be removed in the next version: "
        "old (use new), new.former (use new.inner), other.deep.label (use other.deep.name).\n"
    )
