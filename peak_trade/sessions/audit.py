"""Audit of sessions that are named by id: verification, proofs, export and retention of their journals."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.files import reason_of, write_text
from peak_trade.data.workspace import workspace
from peak_trade.journal.export import write_trail
from peak_trade.journal.files import read_lines
from peak_trade.journal.keys import WorkspaceKey, is_public_key
from peak_trade.journal.proofs import Proof, prove_consistency, prove_inclusion, read_proof
from peak_trade.journal.session_chain import CHAIN_HEAD, ChainCheck
from peak_trade.journal.telemetry import TidiedSession, tidy
from peak_trade.journal.verify import Verdict, VerdictKind, verify
from peak_trade.sessions.edge import edge_of
from peak_trade.sessions.options import read_telemetry
from peak_trade.sessions.store import (
    SessionSummary,
    alert_texts,
    check_journal,
    check_sessions,
    find_session,
    keys_folder,
    latest_session,
    session_ids,
    sessions_folder,
    summaries,
)
from peak_trade.tracking.queries import notes_of


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """Result of the check of a proof, with a sentence that names the claim or what contradicts it."""

    is_valid: bool
    message: str


@dataclass(frozen=True, slots=True)
class TrailExport:
    """Numbers of events and sessions in an exported audit trail, and the ids of the sessions."""

    n_events: int
    n_sessions: int
    session_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkspaceCheck:
    """The verdict on every session of a workspace by its id, and the check of their chain."""

    verdicts: Mapping[str, Verdict]
    chain: ChainCheck

    @property
    def is_intact(self) -> bool:
        """Whether every journal and the chain are intact."""
        return self.chain.is_intact and all(verdict.is_intact for verdict in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class AuditedSession:
    """A session with the verdict on its journal, and its alerts as texts, the last one first.

    `workspace` is the name of its workspace's folder, `edge` the sentence on the evidence of an edge, empty without
    one.
    """

    workspace: str
    summary: SessionSummary
    verdict: Verdict
    alerts: tuple[str, ...]
    edge: str = ""


def audited_sessions() -> tuple[list[AuditedSession], list[str]]:
    """Return the sessions of the workspace, the last id first, and the faults of their chain.

    Every journal is read and verified: a verdict that was kept could be that of another file.
    """
    checked, name = verify_workspace(), workspace().resolve().name
    rows = []
    for each in reversed(summaries()):
        folder = sessions_folder() / each.session_id
        edge = edge_of(folder)
        sentence = "" if edge is None else edge.sentence
        rows.append(AuditedSession(name, each, checked.verdicts[each.session_id], alert_texts(folder), sentence))
    return rows, list(checked.chain.faults)


def verify_session(name: str, key: str | None = None) -> tuple[str, Verdict]:
    """Return the id of a session and the verdict on its journal, by default with the key of the workspace.

    Raises
    ------
    ConfigError
        If the key is not 64 hex digits.
    SessionError
        If there is no such session.

    """
    if key is not None and not is_public_key(key):
        raise ConfigError(f"key was {key!r}: write 64 hex digits, as in keys/journal.pub of the workspace.")
    folder = find_session(name)
    return folder.name, check_journal(folder) if key is None else verify(folder, key.lower(), sessions_folder())


def verify_workspace(key: str | None = None) -> WorkspaceCheck:
    """Verify the journal of every session, and the chain of the sessions; see `verify_session`.

    The heads of the chain that recorded runs hold must be in the chain.
    """
    verdicts = {}
    for name in session_ids():
        try:
            verdicts[name] = verify_session(name, key)[1]
        except SessionError as error:
            verdicts[name] = Verdict(VerdictKind.EDITED, 0, 0, str(error))
    heads = {f"run {run_id}": head for run_id, head in notes_of(CHAIN_HEAD).items()}
    return WorkspaceCheck(verdicts, check_sessions(None if key is None else key.lower(), heads))


def prove_session(name: str, sequence: int | None = None, since: int | None = None) -> Proof:
    """Prove that event `sequence` is in the journal of a session, or that its first `since` events did not change.

    Raises
    ------
    ConfigError
        If not exactly one of the two is given.
    SessionError
        If there is no such session or event, or the journal does not verify.

    """
    if (sequence is None) == (since is None):
        raise ConfigError("name either the number of an event, or --since N.")
    folder = find_session(name)
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it proves nothing.")
    return prove_inclusion(folder, sequence) if sequence is not None else prove_consistency(folder, since or 0)


def write_proof(proof: Proof, path: Path) -> None:
    """Write a proof as JSON, whole or not at all; ConfigError when it cannot be written, or its folder is missing."""
    if not path.parent.is_dir():
        raise ConfigError(f"output was {path}: there is no such folder. Make it, or choose another one.")
    try:
        write_text(path, proof.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"output was {path}: it could not be written ({reason_of(error)}).") from None


def check_proof(path: Path, root: str | None = None) -> ProofCheck:
    """Check the proof of a file and, if a root is given, that it is the root of the proof.

    Raises
    ------
    ConfigError
        If the file is not a proof, or the root is not 64 hex digits.

    """
    if root is not None and not is_public_key(root):
        raise ConfigError(f"root was {root!r}: write 64 hex digits, as in a proof.")
    proof = read_proof(path)
    if root is not None and proof.root != root.lower():
        return ProofCheck(False, f"the root is {proof.root}, not {root.lower()}")
    if not proof.is_valid():
        return ProofCheck(False, f"the proof does not show that {proof.claim()}")
    return ProofCheck(True, proof.claim())


def export_trail(
    path: Path,
    name: str | None = None,
    *,
    is_all: bool = False,
    kinds: Collection[str] = (),
    columns: Sequence[str] = (),
) -> TrailExport:
    """Write the audit trail of a session, by default of the latest, or of all to a .csv, .json or .parquet file.

    `kinds` and `columns` choose events and columns as of `write_trail`; errors as of it, ConfigError if a session and
    all are asked for, SessionError if there is no session or its journal can not be read.
    """
    if is_all and name is not None:
        raise ConfigError("session and all were both given: export one session or all of them.")
    names = session_ids() if is_all else [latest_session() if name is None else name]
    folders = [find_session(each) for each in names]
    n_events = write_trail(((folder.name, read_lines(folder)) for folder in folders), path, kinds, columns)
    return TrailExport(n_events, len(folders), tuple(folder.name for folder in folders))


def tidy_sessions(telemetry: Path | None = None) -> list[TidiedSession]:
    """Compress and delete the sealed sessions that are old enough for the retention of the telemetry settings."""
    retention = read_telemetry(telemetry).retention
    return tidy(sessions_folder(), retention, time.time_ns(), lambda: WorkspaceKey(keys_folder()))
