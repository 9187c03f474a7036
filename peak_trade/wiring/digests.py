"""Digests of configurations, data and strategies, from which run ids are derived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import canonical_json, digest_bytes, digest_of, package_digest
from peak_trade.core.files import read_bytes
from peak_trade.core.settings import Settings
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import BaseStrategy, Strategy
from peak_trade.wiring.named_inputs import texts_in
from peak_trade.wiring.user_code import UserCode, nested_parts, nested_settings, user_classes, user_code

_known: ContextVar[dict[object, str] | None] = ContextVar("known", default=None)


@contextmanager
def digests_once() -> Iterator[None]:
    """Compute the digest of this package, and that of each Bars, once within the block, in this thread.

    For a study with many runs over the same bars.
    """
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def _once(what: object, digest: Callable[[], str]) -> str:
    known = _known.get()
    if known is None:
        return digest()
    if what not in known:
        known[what] = digest()
    return known[what]


def config_digest(
    strategies: Sequence[Strategy],
    settings: BacktestSettings,
    instruments: Sequence[Instrument],
    risk: RiskLimits | None = None,
    start: int | None = None,
) -> str:
    """Return the digest of the resolved settings of a run; with the data digest it identifies a trial.

    `start` is the first traded close, ns UTC, of a run with earlier bars; None if all bars are traded.
    """
    (digest,) = config_digests([strategies], settings, instruments, risk, start)
    return digest


def config_digests(
    runs: Iterable[Sequence[Strategy]],
    settings: BacktestSettings,
    instruments: Sequence[Instrument],
    risk: RiskLimits | None = None,
    start: int | None = None,
) -> list[str]:
    """Return the `config_digest` of each of several runs that differ in their strategies only."""
    limits = [] if risk is None else [risk.digest()]
    starts = [] if start is None else [{"start": start}]
    rest = canonical_json([settings.digest(), [trading_rules(each) for each in instruments], *limits, *starts])
    parts = ([part for strategy in strategies for part in parameter_digests(strategy)] for strategies in runs)
    return [digest_bytes(f"[{canonical_json(each)},{rest[1:]}".encode()) for each in parts]  # of the list [each, *rest]


def trading_rules(instrument: Instrument) -> dict[str, Any]:
    """Return the rules of an instrument; a leverage of 1 is left out, so that earlier runs keep their digest."""
    return {name: value for name, value in asdict(instrument).items() if (name, value) != ("max_leverage", 1.0)}


def parameter_digests(strategy: BaseStrategy) -> list[str]:
    """Return the digest of the parameters of a strategy and of each part within it.

    The content of a file that a parameter of a user's part names counts too.
    """
    found = []
    for part in nested_parts(strategy):
        found += [part.digest(), *(digest_bytes(read_bytes(path)) for path in named_files(part))]
    return found


def named_files(part: Settings) -> list[Path]:
    """Return the files that the parameters of a user's part name, also in a list or a table."""
    if not user_classes(type(part)):
        return []
    texts = texts_in([getattr(part, name) for name in type(part).model_fields])
    return [Path(text) for text in dict.fromkeys(texts) if os.path.isfile(text)]


def data_digest(bars: Sequence[Bars]) -> str:
    """Return the digest of bars, independent of their order."""
    return digest_of(sorted(_once(part, part.digest) for part in bars))


def code_digest(parts: Iterable[Any] | UserCode) -> str:
    """Return the digest of the code of a run: this package, and the code of a user that its parts reach.

    Parameters
    ----------
    parts : iterable of Settings and functions, or UserCode
        The strategies of the run and the allocator of a portfolio, or what `user_code` returns for them. Values of
        parameters do not count: `config_digest` has them.

    """
    code = parts if isinstance(parts, UserCode) else user_code(parts)
    return digest_of([_once("package", package_digest), code.digest()])


def user_code_digest(parts: Iterable[Any] | UserCode) -> str:
    """Return the digest of what the code of a user executes; empty without any.

    Other code is another trial of an equal configuration. Comments, docstrings and versions do not count; see
    `code_digest`, which also says what `parts` are.
    """
    code = parts if isinstance(parts, UserCode) else user_code(parts)
    return code.executed_digest()


def user_strategies(strategy: BaseStrategy) -> list[BaseStrategy]:
    """Return the strategy if a user wrote it or one of its parts that is not a strategy; otherwise those within it.

    Empty for a strategy of this package whose parts are all of this package.
    """
    nested = list(nested_settings(strategy))
    others = [part for each in nested if not isinstance(each, BaseStrategy) for part in nested_parts(each)]
    if any(user_classes(type(part)) for part in (strategy, *others)):
        return [strategy]
    return [part for each in nested if isinstance(each, BaseStrategy) for part in user_strategies(each)]
