"""The policy of the live-execution gate: who approves, and what a session at an exchange's sandbox must show.

No value has a default, so that a policy states all of them. Its digest is that of the bytes of its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ConfigError, GovernanceError
from peak_trade.core.settings import Finite, Fraction, Notional, Positive, Settings
from peak_trade.governance.envelope import decode_envelope, read_small_file
from peak_trade.governance.keys import public_key_fault

POLICY_TYPE = "application/vnd.peak-trade.policy+toml"
"""Payload type of a signed policy: the bytes of its TOML file."""

LONGEST_APPROVAL_DAYS = 7
MOST_APPROVERS = 32

Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_.-]{0,39}$")]
Days = Annotated[float, Field(gt=0.0, le=3_650.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Threshold = Annotated[int, Field(ge=1, le=MOST_APPROVERS)]


class Approver(Settings):
    """A person who may approve, and their public key."""

    name: Name
    """Name under which the person signs."""

    public_key: str
    """Ed25519, 64 hex digits in lower case, as `peak-trade approve --new-key` prints it."""

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, text: str) -> str:
        fault = public_key_fault(text)
        if fault:
            raise ValueError(f"{fault}; use the one that `peak-trade approve --new-key` prints")
        return text


class ApprovalRules(Settings):
    """Numbers of distinct keys, and how long an approval is valid."""

    testnet: Threshold
    """Number of distinct keys that approve a session at an exchange's sandbox."""

    policy_change: Threshold
    """Number of distinct keys that sign the next version of the policy."""

    max_days: Annotated[float, Field(gt=0.0, le=LONGEST_APPROVAL_DAYS, allow_inf_nan=False)]
    """Longest time from the start to the expiry of an approval, days."""


class RiskCaps(Settings):
    """The largest value that each of these risk limits may have; a session must set all of them."""

    max_order_notional: Notional
    """Notional of one order, quote currency."""

    max_gross_exposure: Positive
    """Sum of unsigned exposures, fraction of equity."""

    max_symbol_exposure: Positive
    """Exposure to one symbol, fraction of equity."""

    max_daily_loss_fraction: Fraction
    """Loss since the start of the UTC day, fraction of equity at that time."""

    max_drawdown: Fraction
    """Fall from peak equity, fraction."""

    max_price_deviation: Fraction
    """Distance of an order's prices from the market price, fraction of it."""

    max_open_orders: Count
    """Number of open orders."""

    max_orders_per_minute: Positive
    """`max_orders` divided by `order_window`."""


class Readiness(Settings):
    """State of the machine and of the market at the decision."""

    max_drill_days: Days
    """Longest time since the kill switch was exercised, days."""

    max_clock_offset_ms: Positive
    """Largest difference of the machine's clock from the exchange's, ms, unsigned."""

    max_data_bars: Positive
    """Largest age of the newest bar, in bars."""


class OutOfSampleRules(Settings):
    """Minimum results of the newest walk-forward or backtest of the strategy on bars it was not fitted on."""

    min_days: Days
    """Shortest window, days."""

    max_age_days: Days
    """Longest time from the end of the window to the decision, days."""

    min_trades: Count
    """Smallest number of trades."""

    min_sharpe: Finite
    """Smallest annual Sharpe ratio."""

    min_deflated_sharpe: Fraction
    """Smallest deflated Sharpe ratio, a probability."""

    max_drawdown: Fraction
    """Largest drawdown, fraction of peak equity."""


class ShadowRules(Settings):
    """The shadow session that comes first."""

    min_hours: Annotated[float, Field(ge=24.0, le=8_760.0, allow_inf_nan=False)]
    """Shortest time between its first and its last recorded event, hours."""

    max_age_days: Days
    """Longest time from its end to the decision, days."""


class LivePolicy(Settings):
    """Approvers, and the requirements on a session at an exchange's sandbox."""

    version: Annotated[int, Field(ge=1, le=1_000_000)]
    """Only grows: the next version of version 1 is 2."""

    approvers: Annotated[tuple[Approver, ...], Field(strict=False, max_length=MOST_APPROVERS)]
    approvals: ApprovalRules
    revoked: Annotated[tuple[Annotated[str, Field(pattern="^[0-9a-f]{32}$")], ...], Field(strict=False)]
    """Ids of approvals that are void."""

    risk: RiskCaps
    readiness: Readiness
    out_of_sample: OutOfSampleRules
    shadow: ShadowRules
    n_sessions: Annotated[int, Field(ge=1, le=1_000)]
    """Number of the last sessions whose journals must verify."""

    @property
    def names(self) -> Mapping[str, str]:
        """Name of each approver, by public key."""
        return {each.public_key: each.name for each in self.approvers}

    @model_validator(mode="after")
    def _each_approver_is_one_person(self) -> Self:
        for part in ("name", "public_key"):
            values = [getattr(each, part) for each in self.approvers]
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"the {part} {value} is listed twice in approvers: each person has one key")
        return self

    @model_validator(mode="after")
    def _enough_approvers(self) -> Self:
        if not self.approvers:
            raise ValueError(
                "approvers is empty: list who may approve, each with the key of `peak-trade approve --new-key`"
            )
        for name in ("testnet", "policy_change"):
            needed = getattr(self.approvals, name)
            if needed > len(self.approvers):
                raise ValueError(f"approvals.{name} was {needed}, and there are {len(self.approvers)} approvers")
        return self


@dataclass(frozen=True)
class PolicyFile:
    """The bytes of a policy's file, and the policy in them."""

    content: bytes

    @cached_property
    def policy(self) -> LivePolicy:
        """The policy; ConfigError if the bytes are none."""
        return parse_policy(self.content, "policy")

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return digest_bytes(self.content)


def parse_policy(content: bytes, where: str) -> LivePolicy:
    """Return the policy in the bytes of a TOML file; ConfigError for anything else."""
    try:
        values: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not TOML: {error}.") from None
    return LivePolicy.parse(values, where)


def read_policy(path: Path) -> PolicyFile:
    """Return the policy of a file; ConfigError for a wrong value, GovernanceError if the file is unreadable."""
    found = PolicyFile(read_small_file(path))
    parse_policy(found.content, str(path))
    return found


def check_adoption(new: PolicyFile, adopted: PolicyFile | None, envelope: bytes | None) -> tuple[str, ...]:
    """Return the names of the approvers who signed a policy; the first version may have no signature.

    Parameters
    ----------
    new : PolicyFile
    adopted : PolicyFile or None
        The policy in force; None before the first one.
    envelope : bytes or None
        Signed envelope with the bytes of `new`.

    Raises
    ------
    GovernanceError
        If the version does not follow, or the change is not signed by `approvals.policy_change` distinct keys of the
        policy in force and as many as the new policy asks for of its own.

    """
    version = new.policy.version
    if adopted is None:
        if version != 1:
            raise GovernanceError(f"version was {version}; the first policy of a workspace has version 1.")
        if envelope is None:
            return ()
        trusted = new.policy
    else:
        trusted = adopted.policy
        if new.digest == adopted.digest:
            raise GovernanceError(f"this policy, version {version}, is in force already.")
        if version != trusted.version + 1:
            raise GovernanceError(
                f"version was {version}, and version {trusted.version} is in force: versions only grow, one at a time. "
                f"Set version = {trusted.version + 1}."
            )
        if envelope is None:
            raise GovernanceError(
                f"this change of version {trusted.version} has no signature; it needs "
                f"{trusted.approvals.policy_change}. Sign it with `peak-trade policy sign`."
            )
    signed = decode_envelope(envelope, POLICY_TYPE)
    if signed.payload != new.content:
        raise GovernanceError("the signatures are for another text of this policy. Sign the file as it is now.")
    signers = signed.signers(trusted.names.keys() | new.policy.names.keys())
    for policy, which in ((trusted, "in force"), (new.policy, "new")):
        counted, needed = len(signers & policy.names.keys()), policy.approvals.policy_change
        if counted < needed:
            raise GovernanceError(
                f"{counted} approvers of the policy that is {which} signed it; version {policy.version} needs {needed} "
                "distinct keys."
            )
    return tuple(sorted({**new.policy.names, **trusted.names}[key] for key in signers))
