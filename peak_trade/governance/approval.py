"""Approvals: what approvers sign, and its verification before a session starts."""

from __future__ import annotations

import json
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, GovernanceError, listed
from peak_trade.core.settings import Notional, Settings
from peak_trade.core.time import iso, parse_utc, to_ns
from peak_trade.governance.envelope import Envelope, decode_envelope, read_small_file
from peak_trade.governance.policy import LONGEST_APPROVAL_DAYS, LivePolicy, Name
from peak_trade.governance.scope import Digest, Scope
from peak_trade.governance.state import GovernanceState
from peak_trade.journal.keys import Signer

APPROVAL_TYPE = "application/vnd.peak-trade.approval+json"
"""Payload type of a signed approval: canonical JSON."""

NS_PER_DAY = 86_400 * 1_000_000_000
CLOCK_TOLERANCE = 1_000_000_000
"""How far the clock may show less than at the last entry of the governance log, ns."""

_DIFFERENCES = {
    "stage": "another stage",
    "strategies": "another strategy or other parameters",
    "symbols": "other symbols",
    "code": "other code",
    "config": "another configuration",
}


class Approval(Settings):
    """A session that approvers sign, with its largest order and a time."""

    approval_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    """Id that one session and its resumptions use up."""

    scope: Scope
    """The session: stage, strategies with parameters, symbols, code and configuration."""

    policy: Digest
    """Digest of the policy in force."""

    workspace: Digest
    """Id of the governance log in which the approval is used up; no other workspace accepts it."""

    max_notional: Notional
    """Largest notional of one order, quote currency: the session's max_order_notional is not above it."""

    not_before: str
    """Time from which it is valid, UTC."""

    expires: str
    """Time at which it ends, UTC."""

    approvers: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    """Names of all who sign it, as in the policy."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why the session is approved, for the record."""

    version: Literal[1] = 1
    """Version of this format."""

    @field_validator("not_before", "expires")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        try:
            return iso(to_ns(parse_utc(text)))
        except ConfigError:
            raise ValueError("write a UTC time like 2026-01-31T12:00") from None

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if not 0 < self.end - self.start <= LONGEST_APPROVAL_DAYS * NS_PER_DAY:
            raise ValueError(f"expires must come after not_before, at most {LONGEST_APPROVAL_DAYS} days")
        if len(set(self.approvers)) != len(self.approvers):
            raise ValueError("approvers has a name twice")
        return self

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical_json(self.model_dump(mode="json")).encode()

    @property
    def start(self) -> int:
        """Time from which it is valid, ns UTC."""
        return to_ns(parse_utc(self.not_before))

    @property
    def end(self) -> int:
        """Time at which it ends, ns UTC."""
        return to_ns(parse_utc(self.expires))


@dataclass(frozen=True, slots=True)
class Request:
    """A session that needs an approval: its scope, and the largest notional of one order in quote currency."""

    scope: Scope
    max_notional: float
    session_id: str = ""
    """The session that uses the approval; empty before it has an id."""


def sign(approval: Approval, signers: Sequence[Signer]) -> bytes:
    """Return the signed envelope of an approval."""
    envelope = Envelope(APPROVAL_TYPE, approval.to_bytes())
    for signer in signers:
        envelope = envelope.signed_by(signer)
    return envelope.encode()


def read_approval(path: Path) -> bytes:
    """Return the content of an approval's file; GovernanceError for a link, a device or a huge file."""
    return read_small_file(path)


def approval_in(content: bytes) -> Approval:
    """Return the approval in an envelope whose signatures are not verified, to show it; GovernanceError for no one."""
    return _parsed(decode_envelope(content, APPROVAL_TYPE).payload)


def verify(content: bytes, state: GovernanceState, request: Request, now: int) -> Approval:
    """Return the approval in the content of a file if it admits the requested session now.

    Parameters
    ----------
    content : bytes
        The envelope, as `sign` returns it.
    state : GovernanceState
        Of the workspace's governance log: policy, revoked and used approvals, and the floor of the clock.
    request : Request
        What the session asks for.
    now : int
        Time of the machine's clock, ns UTC.

    Raises
    ------
    GovernanceError
        With what does not hold: envelope, signatures, stage, strategies, symbols, code, configuration, policy,
        notional, time, revocation or use by another session.

    """
    if state.policy is None:
        raise GovernanceError("no policy is adopted. Adopt one with `peak-trade policy adopt`.")
    policy = state.policy.policy
    envelope = decode_envelope(content, APPROVAL_TYPE)
    signers = envelope.signers(policy.names.keys())
    approval = _parsed(envelope.payload)
    _check_signers(approval, signers, policy)
    differing = approval.scope.differences(request.scope)
    if differing:
        raise GovernanceError(f"it is for {listed(_DIFFERENCES[name] for name in differing)}.")
    if not request.max_notional <= approval.max_notional:
        raise GovernanceError(
            f"an order may be {request.max_notional:g}; it allows {approval.max_notional:g}; lower max_order_notional."
        )
    check_terms(approval, state, now)
    if now < approval.start:
        raise GovernanceError(f"it is valid from {approval.not_before} on, and it is {iso(now)}.")
    used = state.used.get(approval.approval_id)
    if used is not None and used != request.session_id:
        raise GovernanceError(f"it was used by session {used}; each session needs its own.")
    return approval


def check_clock(floor: int, now: int) -> None:
    """Raise GovernanceError if the clock shows less than at the last entry of the governance log."""
    if now < floor - CLOCK_TOLERANCE:
        raise GovernanceError(
            f"the clock shows {iso(now)}, and the governance log has an entry of {iso(floor)}: it was set back. Set it."
        )


def approval_from_toml(
    content: bytes, where: str, defaults: Mapping[str, str], scope_of: Callable[[str], Scope]
) -> Approval:
    """Return the approval that a filled-in template describes; ConfigError for a wrong value.

    Parameters
    ----------
    content : bytes
    where : str
        Start of an error message.
    defaults : mapping of str
        Values for what the template may leave out: `policy` and `workspace`. An approval has a new id.
    scope_of : callable
        Returns the scope of a recorded decision, which the template may name instead of a scope.

    """
    try:
        values: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not TOML: {error}.") from None
    if isinstance(values.get("decision"), str):
        if "scope" in values:
            raise ConfigError(f"{where}: decision and [scope] both name the session. Leave one of them out.")
        values["scope"] = scope_of(values.pop("decision")).model_dump(mode="json")
    return Approval.parse({"approval_id": secrets.token_hex(16), **defaults} | values, where)


def check_approval_id(text: str) -> str:
    """Return an id of an approval; GovernanceError for another text."""
    if re.fullmatch("[0-9a-f]{32}", text) is None:
        raise GovernanceError(f"approval id was {text!r:.80}: it has 32 hex digits, as `peak-trade approve` prints it.")
    return text


def _parsed(payload: bytes) -> Approval:
    try:
        values = json.loads(payload)
        approval = Approval.parse(values, "approval")
    except (ValueError, RecursionError):
        raise GovernanceError("its content is not an approval.") from None
    except ConfigError as error:
        raise GovernanceError(f"its content is not an approval: {error}") from None
    if approval.to_bytes() != payload:
        raise GovernanceError("its content is not written as `peak-trade approve` writes it.")
    return approval


def _check_signers(approval: Approval, signers: frozenset[str], policy: LivePolicy) -> None:
    names = {policy.names[key] for key in signers}
    if names != set(approval.approvers):
        raise GovernanceError(
            f"it names the approvers {listed(sorted(approval.approvers))}, and {listed(sorted(names))} signed it."
        )
    needed = policy.approvals.testnet
    if len(signers) < needed:
        raise GovernanceError(f"{len(signers)} distinct keys signed it; the policy needs {needed}.")


def check_terms(approval: Approval, state: GovernanceState, now: int) -> None:
    """Raise GovernanceError for an approval that admits no session by policy, workspace, length, end or revocation."""
    if state.policy is None:
        raise GovernanceError("no policy is adopted. Adopt one with `peak-trade policy adopt`.")
    policy = state.policy.policy
    if approval.policy != state.policy.digest:
        raise GovernanceError(f"it is for another policy than version {policy.version}, which is in force.")
    if approval.workspace != state.log_id:
        raise GovernanceError("it is for another workspace, or the governance log of this one was replaced.")
    if approval.end - approval.start > policy.approvals.max_days * NS_PER_DAY:
        raise GovernanceError(
            f"it lasts longer than {policy.approvals.max_days:g} days, the most that the policy allows."
        )
    check_clock(state.clock_floor, now)
    if now >= approval.end:
        raise GovernanceError(f"it expired at {approval.expires}, and it is {iso(now)}. Sign another one.")
    if approval.approval_id in state.revoked:
        raise GovernanceError("it was revoked.")
