"""Parameters of a notebook are typed and strict: no value is guessed, and errors name the closest parameter."""

from __future__ import annotations

import pytest

from peak_trade.core.errors import ConfigError, ReportError
from peak_trade.reports.parameters import parse_assignments, read_parameters, resolve

CELL = """symbol: str = "A#B"  # base and quote
fast: int = 20  # bars
share: float = 0.5  # fraction
is_long: bool = True  # side
start: str | None = None  # first close
values: dict = {}  # what differs
"""
PARAMETERS = read_parameters(CELL, "n.ipynb")


def test_a_parameter_has_type_default_and_comment():
    assert [(p.name, p.annotation, p.default) for p in PARAMETERS.values()] == [
        ("symbol", "str", "A#B"),
        ("fast", "int", 20),
        ("share", "float", 0.5),
        ("is_long", "bool", True),
        ("start", "str | None", None),
        ("values", "dict", {}),
    ]
    assert PARAMETERS["symbol"].comment == "base and quote"


@pytest.mark.parametrize(
    "cell",
    [
        "fast = 20  # no type",
        "fast: int = 20",
        "fast: list = []  # unknown type",
        "import os",
        "fast: int = 'x'  # off",
        "fast: int = 1  # [one | two] which",
        "name: dict = {}  # [0, 1] which",
    ],
    ids=[
        "no-type",
        "no-comment",
        "unknown-type",
        "statement",
        "default-of-another-type",
        "alternatives-of-a-number",
        "interval-of-a-table",
    ],
)
def test_a_parameters_cell_without_type_or_comment_is_refused(cell):
    with pytest.raises((ReportError, ConfigError), match=r"n\.ipynb, parameters cell, line 1"):
        read_parameters(cell, "n.ipynb")


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        ("[0, 1]", [0.0, 0.5, 1.0], [-0.1, 1.1]),
        ("(0, 1)", [1e-9, 0.5], [0.0, 1.0]),
        ("(-inf, 1_000]", [-1e12, 1_000.0], [1_000.5]),
        ("[2, 1e3)", [2.0, 999.9], [1e3, 1.9]),
    ],
)
def test_an_interval_takes_exactly_its_numbers(values, inside, outside):
    parameters = read_parameters(f"share: float = 0.5  # {values} of equity", "n.ipynb")
    assert (parameters["share"].values, parameters["share"].comment) == (values, "of equity")
    for value in inside:
        assert resolve(parameters, {"share": value}, "n") == {"share": value}
    for value in outside:
        with pytest.raises(ConfigError, match="Give a number in "):
            resolve(parameters, {"share": value}, "n")


def test_given_values_replace_defaults_and_an_int_is_accepted_for_a_float():
    values = resolve(PARAMETERS, {"share": 1, "start": "2024-01-01"}, "n")
    assert values == {
        "symbol": "A#B", "fast": 20, "share": 1.0, "is_long": True, "start": "2024-01-01", "values": {},
    }  # fmt: skip
    assert type(values["share"]) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fats": 10}, "fats is not a parameter. Did you mean fast?"),
        ({"fast": "10"}, "fast was '10'; its type is int"),
        ({"fast": True}, "fast was True; its type is int"),
        ({"fast": 10.0}, "fast was 10.0; its type is int"),
        ({"share": float("nan")}, "share was nan; its type is float"),
        ({"symbol": None}, "symbol was None; its type is str"),
    ],
    ids=["unknown", "text", "bool", "float", "nan", "none"],
)
def test_an_unknown_or_mistyped_value_is_refused(given, message):
    with pytest.raises(ConfigError) as refusal:
        resolve(PARAMETERS, given, "n")
    assert message in str(refusal.value)


def test_assignments_are_parsed_by_the_type_of_the_parameter():
    texts = ["symbol=1=2", "fast=10", "share=2", "is_long=false", "start=none", "values.fast=3", "values.kind=ema"]
    assert parse_assignments(PARAMETERS, texts, "n") == {
        "symbol": "1=2", "fast": 10, "share": 2.0, "is_long": False, "start": None,
        "values": {"fast": 3, "kind": "ema"},
    }  # fmt: skip
    assert parse_assignments(PARAMETERS, ['values={"fast": 3}'], "n") == {"values": {"fast": 3}}


@pytest.mark.parametrize(
    "texts",
    [
        ["fast"],
        ["fast=1.5"],
        ["fast=1", "fast=2"],
        ["nope=1"],
        ["is_long=1"],
        ["values=3"],
        ["values.a=1", "values.a=2"],
    ],
    ids=["no-value", "not-whole", "twice", "unknown", "not-a-bool", "not-a-dict", "key-twice"],
)
def test_a_malformed_assignment_is_refused(texts):
    with pytest.raises(ConfigError):
        parse_assignments(PARAMETERS, texts, "n")
