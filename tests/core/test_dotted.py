"""Dotted names and nested mappings say the same, and a text stands for the value of its JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.dotted import flat, nested, value_of

names = st.text("abc_", min_size=1, max_size=3)
values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
trees = st.recursive(values, lambda part: st.dictionaries(names, part, max_size=3), max_leaves=8)


@given(st.dictionaries(names, trees, max_size=4))
def test_flat_and_nested_are_inverse(tree):
    assert nested(flat(tree)) == tree
    assert all(not isinstance(value, dict) or not value for value in flat(tree).values())


@given(values)
def test_a_text_stands_for_the_value_of_its_json(value):
    assert value_of(json.dumps(value)) == value


@pytest.mark.parametrize("given_value", ["ma_crossover", "", "1e", 5, None, {"a": 1}], ids=repr)
def test_what_is_no_json_stays_as_it_is(given_value):
    assert value_of(given_value) == given_value
