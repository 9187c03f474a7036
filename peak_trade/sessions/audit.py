"""Audit of sessions that are named by id: verification, proofs, export and retention of their journals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.journal.export import trail_frame, write_trail
from peak_trade.journal.files import read_lines
from peak_trade.journal.keys import is_public_key
from peak_trade.journal.proofs import Proof, prove_consistency, prove_inclusion, read_proof
from peak_trade.journal.telemetry import TidiedSession, tidy
from peak_trade.journal.verify import Verdict, verify
from peak_trade.sessions.options import read_telemetry
from peak_trade.sessions.store import check_journal, find_session, session_ids, sessions_folder


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """Result of the check of a proof, with a sentence that names the claim or what contradicts it."""

    is_valid: bool
    message: str


@dataclass(frozen=True, slots=True)
class TrailExport:
    """Numbers of events and sessions in an exported audit trail."""

    n_events: int
    n_sessions: int


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
    return folder.name, check_journal(folder) if key is None else verify(folder, key.lower())


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
    """Write a proof as JSON; ConfigError when the file cannot be written."""
    try:
        path.write_text(proof.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"output was {path}: it could not be written ({error.strerror}).") from None


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


def export_trail(path: Path, name: str | None = None) -> TrailExport:
    """Write the audit trail of one session, or of all, to a .csv, .json or .parquet file."""
    folders = [find_session(each) for each in ([name] if name else session_ids())]
    n_events = write_trail([trail_frame(folder.name, read_lines(folder)) for folder in folders], path)
    return TrailExport(n_events, len(folders))


def tidy_sessions(telemetry: Path | None = None) -> list[TidiedSession]:
    """Compress and delete the sealed sessions that are old enough for the retention of the telemetry settings."""
    return tidy(sessions_folder(), read_telemetry(telemetry).retention, time.time_ns())
