"""Files of approvals and signed policies: `peak-trade approve` and `peak-trade policy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peak_trade.core.errors import GovernanceError, listed
from peak_trade.core.files import reason_of, write_bytes
from peak_trade.governance.approval import (
    APPROVAL_TYPE,
    Approval,
    approval_from_toml,
    approval_in,
    check_terms,
    read_approval,
)
from peak_trade.governance.envelope import Envelope, decode_envelope, read_small_file
from peak_trade.governance.log import GovernanceLog
from peak_trade.governance.policy import POLICY_TYPE, PolicyFile, read_policy
from peak_trade.journal.keys import Signer

APPROVALS = "approvals"
"""Folder of a workspace with the files of its approvals."""

SIGNATURES = ".signed.json"
"""Ending of the file with the signatures of a policy; it lies next to the policy's file."""


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A signed file, the names of those who signed it, and the number of signatures that it still needs."""

    path: Path
    signers: tuple[str, ...]
    n_missing: int


@dataclass(frozen=True, slots=True)
class SignedApproval:
    """An approval with its file."""

    approval: Approval
    file: SignedFile


def approve(path: Path, signers: Sequence[Signer], workspace: Path, now: int) -> SignedApproval:
    """Sign an approval, write it to the workspace, and return it.

    Parameters
    ----------
    path : Path
        A filled-in template, or an approval that others signed and that needs more signatures.
    signers : sequence of Signer
        Keys of approvers of the policy in force.
    workspace : Path
        The workspace in which the session will run.
    now : int
        ns UTC.

    Raises
    ------
    ConfigError, GovernanceError
        For a wrong value, a key that is not an approver's, and an approval that could not admit any session: its
        policy, workspace, time or length do not fit.

    """
    log = GovernanceLog(workspace)
    state = log.state()
    if state.policy is None:
        raise GovernanceError("no policy is adopted in this workspace. Adopt one with `peak-trade policy adopt`.")
    content = read_small_file(path)
    if content.startswith(b"{"):
        envelope = decode_envelope(content, APPROVAL_TYPE)
    else:
        defaults = {"policy": state.policy.digest, "workspace": state.log_id}
        approval = approval_from_toml(content, str(path), defaults, log.scope_of)
        envelope = Envelope(APPROVAL_TYPE, approval.to_bytes())
    for signer in signers:
        envelope = envelope.signed_by(signer)
    signed = envelope.encode()
    approval = approval_in(signed)
    policy = state.policy.policy
    names = tuple(sorted(policy.names[key] for key in envelope.signers(policy.names.keys())))
    strangers = sorted(set(names) - set(approval.approvers))
    if strangers:
        raise GovernanceError(
            f"{path}: approvers does not name {listed(strangers)}, who signs. Name them, and sign again."
        )
    check_terms(approval, state, now)
    if approval.scope.stage != "testnet":
        raise GovernanceError(f"{path}: scope.stage was {approval.scope.stage!r}: such a session needs no approval.")
    target = workspace / APPROVALS / f"{approval.approval_id}.json"
    _write(target, signed)
    missing = max(len(approval.approvers), policy.approvals.testnet) - len(names)
    return SignedApproval(approval, SignedFile(target, names, missing))


def read_approvals(workspace: Path) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return the contents of the files of a workspace's approvals, newest first, and a sentence per unreadable file."""
    contents, faults = [], []
    folder = workspace / APPROVALS
    paths = sorted(folder.glob("*.json"), key=lambda path: (path.lstat().st_mtime_ns, path.name), reverse=True)
    for path in paths:
        try:
            contents.append(read_approval(path))
        except GovernanceError as error:
            faults.append(str(error))
    return tuple(contents), tuple(faults)


def sign_policy(path: Path, signer: Signer, workspace: Path) -> SignedFile:
    """Add a signature to the file with the signatures of a policy, and return that file.

    GovernanceError if the key is no approver's of the policy in force or of the new one, or has signed.
    """
    new, adopted = read_policy(path), GovernanceLog(workspace).state().policy
    target = path.with_name(path.name + SIGNATURES)
    envelope = Envelope(POLICY_TYPE, new.content)
    if target.exists():
        known = decode_envelope(read_small_file(target), POLICY_TYPE)
        envelope = known if known.payload == new.content else envelope
    envelope = envelope.signed_by(signer)
    trusted = new.policy if adopted is None else adopted.policy
    names = {**new.policy.names, **trusted.names}
    signers = envelope.signers(names.keys())
    _write(target, envelope.encode())
    missing = trusted.approvals.policy_change - len(signers & trusted.names.keys())
    return SignedFile(target, tuple(sorted(names[key] for key in signers)), max(0, missing))


def adopt_policy(path: Path, actor: str, log: GovernanceLog) -> PolicyFile:
    """Put the policy of a file in force, with the signatures next to it, and return it.

    ConfigError for a wrong value; GovernanceError if it does not follow the policy in force, or lacks signatures.
    """
    new = read_policy(path)
    signatures = path.with_name(path.name + SIGNATURES)
    log.adopt(new, read_small_file(signatures) if signatures.exists() else None, actor)
    return new


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise GovernanceError(f"{path}: could not be written ({reason_of(error)}).") from None
