"""The configuration of a session: all that its manifest records and that a replay reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from peak_trade.core.bars import Bars
from peak_trade.core.errors import did_you_mean, listed
from peak_trade.core.settings import Positive, Settings
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import Event
from peak_trade.risk.limits import RiskLimits, has_limits
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.portfolio_settings import PortfolioRules, StrategyEntry, check_entries, entry_name, ordered
from peak_trade.wiring.run_file import InstrumentSettings
from peak_trade.wiring.venues import VENUES

MAX_BARS = 3_000_000
"""Maximum number of bars in a session: five years of minutes."""


PORTFOLIO = "portfolio"
"""The strategy of a session of a portfolio in names of sessions."""


class SessionStrategy(StrategyEntry):
    """A strategy of a session; without symbols the only one, on the only symbol."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the strategy."""

    @model_validator(mode="after")
    def _names_its_symbols(self) -> Self:
        if self.symbol or self.symbols:
            StrategyEntry.model_validate(dict(self))
        elif self.label is not None or self.weight is not None or self.max_gross != 1.0:
            raise ValueError(f"{self.name}: label, weight and max_gross belong to a portfolio. Leave them out.")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults_of_panels(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not (self.symbol or self.symbols):
            return {name: values[name] for name in ("name", "parameters")}
        unset = ("symbols", "max_gross") if self.symbol else ("symbol",)
        return {name: value for name, value in values.items() if name not in unset}


class SessionSymbol(Settings):
    """A symbol of a session."""

    name: str
    """Base and quote currency, for example BTC/USDT."""

    instrument: InstrumentSettings = InstrumentSettings()


class SessionConfig(Settings):
    """A session's configuration.

    Manifests hold lists of strategies and symbols, with one entry each unless the session runs a portfolio. One
    strategy with its parameters and one symbol with its instrument may also be given as `strategy`, `parameters`,
    `symbol` and `instrument`, as in manifests of version 1.
    """

    mode: str
    """A mode in VENUES: paper, shadow or testnet."""

    strategies: Annotated[tuple[SessionStrategy, ...], Field(strict=False, min_length=1, fail_fast=True)]
    symbols: Annotated[tuple[SessionSymbol, ...], Field(strict=False, min_length=1, fail_fast=True)]
    timeframe: str
    """Length of a bar."""

    exchange: str
    """Exchange of the bars and of the orders; empty for a recording of which the store has one."""

    feed: str = "live"
    """A feed in FEEDS: recorded, live or follow."""

    start: str | None = None
    """First close time of a recording that is traded, UTC; earlier bars are history."""

    end: str | None = None
    """End of a recording's close times, UTC, exclusive."""

    duration: Annotated[int, Field(ge=1)] | None = None
    """Length in seconds of bar time, at least one bar; none: to the end of the recording, or until stopped."""

    pace: Annotated[Positive, Field(ge=0.001)] | None = None
    """Speed of a recording as a multiple of real time; none: full speed."""

    n_history: Annotated[int, Field(ge=0)] = 500
    """Number of bars before the start of a live session."""

    evaluation: Literal["whole", "bar"] = "bar"
    """Evaluate the strategy once over the whole recording, or at every bar; see `LiveSleeves`."""

    follow: str | None = None
    """The session that a shadow follows."""

    trading: BacktestSettings = BacktestSettings()
    """Cash, costs, execution and sizing, as in a backtest."""

    risk: RiskLimits | None = None
    """Limits that every order is checked against; none: the instrument's rules only."""

    portfolio: PortfolioRules | None = None
    """How the strategies of a portfolio share the account; none: one strategy on one symbol."""

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from the values of a manifest, also under the names of earlier versions; `where` opens an error."""
        return cls.parse(_with_current_names(values), where)

    @property
    def label(self) -> str:
        """The name of the only strategy, or `portfolio`."""
        return self.strategies[0].name if self.portfolio is None else PORTFOLIO

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the strategy; those of the strategies of a portfolio by the names of their entries."""
        if self.portfolio is None:
            return self.strategies[0].parameters
        return {entry_name(entry): dict(entry.parameters) for entry in self.entries}

    @property
    def symbol_names(self) -> tuple[str, ...]:
        """The symbols in sorted order."""
        return tuple(each.name for each in self.symbols)

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments by symbol."""
        return {each.name: each.instrument.instrument(each.name) for each in self.symbols}

    @property
    def lots(self) -> dict[str, float]:
        """The lot sizes by symbol, base units."""
        return {each.name: each.instrument.lot_size for each in self.symbols}

    @property
    def entries(self) -> tuple[StrategyEntry, ...]:
        """The strategies with their symbols, in sorted order."""
        if self.portfolio is not None:
            return tuple(ordered(self.strategies))
        (strategy,), (symbol,) = self.strategies, self.symbols
        return (StrategyEntry(name=strategy.name, symbol=symbol.name, parameters=strategy.parameters),)

    @model_validator(mode="after")
    def _has_the_symbols_of_its_strategies(self) -> Self:
        if self.portfolio is None:
            for name, found in (("strategies", self.strategies), ("symbols", self.symbols)):
                if len(found) > 1:
                    raise ValueError(f"{name} are {len(found)}: a session without a portfolio has one.")
            if self.strategies[0].traded != ("",):
                raise ValueError(f"{self.strategies[0].name}: a symbol of its own belongs to a portfolio.")
            return self
        wanted = sorted({symbol for entry in self.strategies for symbol in entry.traded})
        if list(self.symbol_names) != wanted:
            raise ValueError(f"symbols were {listed(self.symbol_names)}: those of the strategies are {listed(wanted)}.")
        check_entries(self.entries, self.portfolio.allocation)
        return self

    @model_serializer(mode="wrap")
    def _without_portfolio(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a portfolio that there is not, so that the digests of single sessions stay."""
        values: dict[str, Any] = handler(self)
        if self.portfolio is None:
            del values["portfolio"]
        return values

    @model_validator(mode="before")
    @classmethod
    def _take_one_of_each(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.keys() & {"strategies", "symbols"}:
            return values
        return {name: value for name, value in values.items() if name not in _SINGLE} | _lists_of(values)

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "beside" not in values:
            return values
        warnings.warn(
            "beside is deprecated and will be removed in the next version. Use follow, as a setting and as a feed.",
            DeprecationWarning,
            stacklevel=2,
        )
        return _with_current_names(values)

    @field_validator("mode")
    @classmethod
    def _is_a_mode(cls, name: str) -> str:
        if name not in VENUES:
            raise ValueError(f"it is not a mode. {did_you_mean(name, VENUES)}")
        return name

    @field_validator("feed")
    @classmethod
    def _is_a_feed(cls, name: str) -> str:
        if name not in FEEDS:
            raise ValueError(f"it is not a feed. {did_you_mean(name, FEEDS)}")
        return name

    @property
    def has_limits(self) -> bool:
        """Whether any risk limit is in force."""
        return has_limits(self.risk)

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if len({self.mode == "shadow", self.feed == "follow", self.follow is not None}) > 1:
            raise ValueError("a shadow session, and no other, follows a session: name it with --follow.")
        if Timeframe.parse(self.timeframe).months:
            raise ValueError(f"timeframe was {self.timeframe}: months differ in length. Use at most 1w in a session.")
        feed = FEEDS[self.feed]
        if not feed.is_recorded:
            self._check_without_recording()
        if self.duration is not None:
            n_bars = self.duration // Timeframe.parse(self.timeframe).seconds
            if n_bars < 1:
                raise ValueError(f"duration was {self.duration} s: a bar of {self.timeframe} is longer.")
            if n_bars > MAX_BARS:
                raise ValueError(
                    f"duration was {self.duration:,} s: {n_bars:,} bars of {self.timeframe}; a session has at most "
                    f"{MAX_BARS:,}."
                )
        age = None if self.risk is None else self.risk.state.max_feed_age
        if feed.is_live and age is not None and age <= Timeframe.parse(self.timeframe).seconds:
            raise ValueError(
                f"risk.state.max_feed_age was {age:g}: a feed of {self.timeframe} bars is always that old before the "
                "next one. Use more than the length of a bar."
            )
        return self

    def _check_without_recording(self) -> None:
        if self.pace is not None:
            raise ValueError(f"pace was {self.pace:g}: only a recorded feed has one.")
        for name, text, noun in (("start", self.start, "a start"), ("end", self.end, "an end")):
            if text is not None:
                raise ValueError(f"{name} was {text!r}: only a recording has {noun}. Leave --{name} out.")
        if self.evaluation == "whole":
            raise ValueError("only a recording can be evaluated as a whole.")


_SINGLE = ("strategy", "parameters", "symbol", "instrument")


def _lists_of(single: Mapping[str, Any]) -> dict[str, Any]:
    lists: dict[str, Any] = {}
    for many, one, part in (("strategies", "strategy", "parameters"), ("symbols", "symbol", "instrument")):
        entry = {name: single[key] for name, key in (("name", one), (part, part)) if key in single}
        if entry:
            lists[many] = [entry]
    return lists


def names_in(config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the strategies and of the symbols in the `config` of a manifest of any version."""
    found = {**_lists_of(config), **config}
    symbols = _names(found.get("symbols"))
    return _names(found.get("strategies")), tuple(name for text in symbols for name in text.split(", "))


def _names(entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, list):
        return ()
    return tuple(str(entry.get("name", "")) for entry in entries if isinstance(entry, Mapping))


def _with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    current = {("follow" if name == "beside" else name): value for name, value in values.items()}
    if current.get("feed") == "beside":
        current["feed"] = "follow"
    return current


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The surroundings from which the feed and the venue of a session are opened."""

    session_id: str
    config: SessionConfig
    clock: Callable[[], int]
    """Returns now by the machine's clock, ns UTC."""

    wait: Callable[[float], bool]
    """Waits some seconds; returns True if the session is to stop."""

    recording: Sequence[Bars] | None = None
    """The bars of a recording, one Bars per symbol."""

    client: Any = None
    """Client of the session's exchange; None for a recording and in a replay."""

    admission: Any = None
    """Admission to the exchange's sandbox; None in any other mode and in a replay."""

    recorded: Sequence[Event] = ()
    """Events of a session that resumes or is replayed."""
