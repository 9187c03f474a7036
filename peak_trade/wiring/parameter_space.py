"""Parameter sets of a sweep: lists and ranges of values, constraints between them, and random choices among them."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from peak_trade.core.errors import ConfigError, did_you_mean, quoted
from peak_trade.strategies.base import Strategy

Grid = Mapping[str, str | Sequence[Any] | np.ndarray[Any, Any] | pd.Series | pd.Index]
"""Parameter name to its values, in order, or to a range such as "5..50:5"; other parameters keep their defaults."""
MOST_SETS = 1_000_000
"""Most parameter sets of one grid."""
MOST_UNCONFIRMED = 100_000
"""Most parameter sets of a grid that run without a confirmation."""
_DRAWS_PER_SET = 50
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def range_values(text: str) -> list[int] | list[float]:
    """Return the values of a range: `5..50:5` is 5, 10 … 50. The end belongs to it, and the step is 1 by default.

    Raises
    ------
    ConfigError
        If it is not a range of numbers, is empty, or has more than MOST_SETS values.

    Examples
    --------
    >>> range_values("5..20:5"), range_values("0.1..0.3:0.1")
    ([5, 10, 15, 20], [0.1, 0.2, 0.3])

    """
    ends, _, step_text = text.partition(":")
    low_text, _, high_text = ends.partition("..")
    try:
        low, high, step = Decimal(low_text.strip()), Decimal(high_text.strip()), Decimal(step_text.strip() or "1")
        is_range = all(number.is_finite() for number in (low, high, step)) and step > 0 and low <= high
        n_values = int((high - low) / step) + 1 if is_range else 0
    except (InvalidOperation, OverflowError):
        n_values = 0
    if not 0 < n_values <= MOST_SETS:
        raise ConfigError(f"range was {quoted(text)}: give low..high or low..high:step, such as 5..50:5.")
    values = [low + place * step for place in range(n_values)]
    is_whole = all(number == number.to_integral_value() for number in (low, step))
    return [int(value) for value in values] if is_whole else [float(value) for value in values]


def listed_values(values: Any, where: str) -> list[Any]:
    """Return the values of a list or one-dimensional array, with its ranges written out, or those of a range.

    Raises
    ------
    ConfigError
        If there are none, or a range is not one; the message starts with `where`.

    Examples
    --------
    >>> listed_values(["5..15:5", 40], "fast")
    [5, 10, 15, 40]

    """
    if _is_range(values):
        return list(range_values(values))
    is_array = isinstance(values, np.ndarray | pd.Series | pd.Index) and values.ndim == 1
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    found = list(values) if is_array or is_list else []
    if not found:
        raise ConfigError(f"{where} was {values!r}; give a list of the values to try.")
    return [part for value in found for part in (range_values(value) if _is_range(value) else [value])]


class ParameterSpace:
    """The parameter sets of a grid that are valid and fulfil every constraint.

    Parameters
    ----------
    strategy_class : subclass of Strategy
    grid : mapping of parameter to values
    constraints : sequence of str
        Comparisons of parameters and numbers, such as `fast < slow` or `slow >= 2 * fast`.

    Raises
    ------
    ConfigError
        On an unknown parameter (with the closest known name), values that are no list or range, an unreadable
        constraint, or an empty grid of values.

    """

    def __init__(self, strategy_class: type[Strategy], grid: Grid, constraints: Sequence[str] = ()) -> None:
        self.strategy_class = strategy_class
        self.name = f"sweep of {strategy_class.__name__}"
        self.lists = {parameter: self._values(parameter, values) for parameter, values in grid.items()}
        self.n_sets = math.prod(map(len, self.lists.values()))
        self._constraints = [(text, _constraint(text, strategy_class, self.name)) for text in constraints]
        self.n_skipped = 0
        self._first_reason = ""

    def all_sets(self) -> list[Strategy]:
        """Return every set, with the last parameter varying fastest; ConfigError if there are none, or too many."""
        if self.n_sets > MOST_SETS:
            raise ConfigError(
                f"{self.name}: the grid has {self.n_sets:,} sets, more than {MOST_SETS:,}. Give fewer values, or "
                "choose some at random."
            )
        return self._some(filter(None, map(self.set_of, product(*self.lists.values()))))

    def random_sets(self, n_sets: int, seed: int) -> list[Strategy]:
        """Return up to n_sets distinct sets, chosen at random from all of the grid with equal chances."""
        rng, drawn, found = np.random.default_rng(seed), set[int](), list[Strategy]()
        while len(found) < n_sets and len(drawn) < min(self.n_sets, _DRAWS_PER_SET * n_sets):
            place = int(rng.integers(self.n_sets)) if self.n_sets > MOST_SETS else -1
            places = [place] if place >= 0 else [int(each) for each in rng.permutation(self.n_sets)]
            for each in places:
                if each not in drawn and len(found) < n_sets:
                    drawn.add(each)
                    strategy = self.set_of(self._at(each))
                    found += [] if strategy is None else [strategy]
        return self._some(iter(found))

    def set_of(self, values: Sequence[Any]) -> Strategy | None:
        """Return the strategy with these values of the parameters, in order; None, and counted, if it is skipped."""
        parameters = dict(zip(self.lists, values, strict=True))
        try:
            strategy = self.strategy_class.model_validate(parameters)
        except ValidationError as error:
            if any(detail["loc"] for detail in error.errors(include_url=False)):
                self.strategy_class.parse(parameters, self.name)
            self._skip(str(error.errors()[0]["msg"]).removeprefix("Value error, "))
            return None
        for text, holds in self._constraints:
            if not holds(strategy):
                shown = ", ".join(f"{name}={value}" for name, value in parameters.items())
                self._skip(f"{text} does not hold for {shown}.")
                return None
        return strategy

    def require(self, strategies: Sequence[Strategy]) -> None:
        """Raise ConfigError if no set could be run."""
        if not strategies:
            raise ConfigError(
                f"{self.name}: none of the {self.n_skipped:,} sets can be run. The first: {self._first_reason}"
            )

    def _some(self, found: Iterator[Strategy]) -> list[Strategy]:
        strategies = list(found)
        self.require(strategies)
        return strategies

    def _skip(self, reason: str) -> None:
        self.n_skipped += 1
        self._first_reason = self._first_reason or reason

    def _at(self, place: int) -> list[Any]:
        values = []
        for choices in reversed(self.lists.values()):
            place, at = divmod(place, len(choices))
            values.append(choices[at])
        return values[::-1]

    def _values(self, parameter: str, values: Any) -> list[Any]:
        if parameter not in self.strategy_class.model_fields:
            known = did_you_mean(parameter, self.strategy_class.model_fields)
            raise ConfigError(f"{self.name}: {parameter} is not a parameter. {known}")
        return listed_values(values, f"{self.name}: {parameter}")


def parameter_sets(
    strategy_class: type[Strategy], grid: Grid, constraints: Sequence[str] = ()
) -> tuple[list[Strategy], int]:
    """Return the strategies of a grid, with the last parameter varying fastest, and the number of skipped sets.

    Raises
    ------
    ConfigError
        See `sweep`.

    """
    space = ParameterSpace(strategy_class, grid, constraints)
    return space.all_sets(), space.n_skipped


def _is_range(value: Any) -> bool:
    return isinstance(value, str) and ".." in value


def _constraint(text: str, part: type[Strategy], name: str) -> Callable[[Strategy], bool]:
    problem = ConfigError(
        f"{name}: constraint {quoted(text)} is not a comparison of parameters and numbers, such as fast < slow."
    )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise problem from None
    if not isinstance(tree, ast.Compare) or any(type(each) not in _COMPARISONS for each in tree.ops):
        raise problem

    def term(node: ast.expr) -> Callable[[Strategy], Any]:
        if isinstance(node, ast.Name):
            if node.id not in part.model_fields:
                known = did_you_mean(node.id, part.model_fields)
                raise ConfigError(f"{name}: {node.id} in the constraint {quoted(text)} is not a parameter. {known}")
            parameter = node.id
            return lambda strategy: getattr(strategy, parameter)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            constant = node.value
            return lambda strategy: constant
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            combine, left, right = _ARITHMETIC[type(node.op)], term(node.left), term(node.right)
            return lambda strategy: combine(left(strategy), right(strategy))
        raise problem

    terms = [term(node) for node in (tree.left, *tree.comparators)]
    compares = [_COMPARISONS[type(each)] for each in tree.ops]

    def holds(strategy: Strategy) -> bool:
        values = [each(strategy) for each in terms]
        try:
            return all(compare(a, b) for compare, a, b in zip(compares, values, values[1:], strict=False))
        except (TypeError, ZeroDivisionError):
            raise problem from None

    return holds
