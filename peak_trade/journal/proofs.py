"""Proofs that hold without the journal: that a line is in it, and that a longer one only added to a shorter one.

A leaf is a whole line of `events.jsonl` without its line end, hash, sequence and time of writing included; leaf n - 1
is event n. See `merkle` for the tree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.settings import Settings
from peak_trade.journal.codec import complete_lines, split_line
from peak_trade.journal.files import read_content
from peak_trade.journal.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""SHA-256 as 64 hex digits."""

_Count = Annotated[int, Field(ge=1, lt=2**63)]


class InclusionProof(Settings):
    """What shows that a line is in a journal with this root."""

    proof: Literal["inclusion"] = "inclusion"
    session_id: str
    tree_size: _Count
    """Lines under the root."""

    root: Hash
    sequence: _Count
    """The event's number: its leaf is at sequence - 1."""

    leaf: str
    """The line of events.jsonl, without its end."""

    path: list[Hash]

    def is_valid(self) -> bool:
        """Return whether the path leads from the line, at its own number, to the root."""
        line = split_line(self.leaf.encode())
        if line is None or line.sequence != self.sequence:
            return False
        leaf = leaf_hash(self.leaf.encode())
        return verify_inclusion(leaf, self.sequence - 1, self.tree_size, _bytes(self.path), bytes.fromhex(self.root))

    def claim(self) -> str:
        """Return what the proof claims."""
        return f"event {self.sequence} of {self.session_id} is under the root {self.root} of {self.tree_size:,} events"


class ConsistencyProof(Settings):
    """What shows that a journal with this root has, unchanged, the lines that the earlier root had."""

    proof: Literal["consistency"] = "consistency"
    session_id: str
    first_size: _Count
    first_root: Hash
    tree_size: _Count
    root: Hash
    path: list[Hash]

    def is_valid(self) -> bool:
        """Return whether the path proves it."""
        first, root = bytes.fromhex(self.first_root), bytes.fromhex(self.root)
        return verify_consistency(self.first_size, first, self.tree_size, root, _bytes(self.path))

    def claim(self) -> str:
        """Return what the proof claims."""
        return (
            f"the {self.first_size:,} events of {self.session_id} under the root {self.first_root} are the first of "
            f"the {self.tree_size:,} under the root {self.root}"
        )


Proof = InclusionProof | ConsistencyProof


def prove_inclusion(folder: Path, sequence: int) -> InclusionProof:
    """Return the proof that event `sequence` is in a session's journal; SessionError when there is none such."""
    lines = _lines(folder, sequence)
    leaves = [leaf_hash(line) for line in lines]
    path = _texts(inclusion_proof(sequence - 1, leaves))
    return InclusionProof(
        session_id=folder.name,
        tree_size=len(lines),
        root=merkle_root(leaves).hex(),
        sequence=sequence,
        leaf=lines[sequence - 1].decode(),
        path=path,
    )


def prove_consistency(folder: Path, first_size: int) -> ConsistencyProof:
    """Return the proof that a session's first events are still what they were; SessionError when it has fewer."""
    lines = _lines(folder, first_size)
    leaves = [leaf_hash(line) for line in lines]
    return ConsistencyProof(
        session_id=folder.name,
        first_size=first_size,
        first_root=merkle_root(leaves[:first_size]).hex(),
        tree_size=len(lines),
        root=merkle_root(leaves).hex(),
        path=_texts(consistency_proof(first_size, leaves)),
    )


def read_proof(path: Path) -> Proof:
    """Return the proof in a file; ConfigError when it holds none."""
    try:
        record: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: could not be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        record = None
    forms: dict[str, type[InclusionProof] | type[ConsistencyProof]] = {
        "inclusion": InclusionProof,
        "consistency": ConsistencyProof,
    }
    name = record.get("proof") if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in forms:
        raise ConfigError(f"{path}: this is not a proof. `peak-trade audit prove` writes one.")
    return forms[name].parse(record, str(path))


def _lines(folder: Path, wanted: int) -> list[bytes]:
    lines = list(complete_lines(read_content(folder)))
    if not 1 <= wanted <= len(lines):
        raise SessionError(f"{folder.name}: event {wanted} was asked for; it has {len(lines):,}, counted from 1.")
    return lines


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


def _bytes(hashes: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in hashes]
