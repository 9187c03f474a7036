"""Merkle proofs of a journal that verify without the journal: inclusion of a line, and consistency of two sizes.

A leaf is a complete line of `events.jsonl` without its newline, hash, sequence and time of writing included; leaf n - 1
is event n. The tree is that of RFC 9162, section 2.1: SHA-256, leaves prefixed with 0x00 and nodes with 0x01; a tree of
n > 1 leaves splits at the largest power of two below n.

References
----------
RFC 9162, Certificate Transparency Version 2.0, sections 2.1.1 (tree), 2.1.3 (inclusion) and 2.1.4 (consistency).

"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.files import read_bytes
from peak_trade.core.settings import Settings
from peak_trade.journal.codec import complete_lines, split_line
from peak_trade.journal.files import read_content

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""SHA-256, 64 hex digits."""

_Count = Annotated[int, Field(ge=1, lt=2**63)]


class InclusionProof(Settings):
    """Proof that a line is in a journal with this root."""

    proof: Literal["inclusion"] = "inclusion"
    session_id: str
    tree_size: _Count
    """Number of lines under the root."""

    root: Hash
    sequence: _Count
    """Number of the event; its leaf is at sequence - 1."""

    leaf: str
    """The line of events.jsonl, without its newline."""

    path: list[Hash]

    def is_valid(self) -> bool:
        """Return whether the path leads from the line, under its own number, to the root."""
        line = split_line(self.leaf.encode())
        if line is None or line.sequence != self.sequence:
            return False
        leaf = leaf_hash(self.leaf.encode())
        return verify_inclusion(leaf, self.sequence - 1, self.tree_size, _bytes(self.path), bytes.fromhex(self.root))

    def claim(self) -> str:
        """Return what the proof claims."""
        return f"event {self.sequence} of {self.session_id} is under the root {self.root} of {self.tree_size:,} events"


class ConsistencyProof(Settings):
    """Proof that a journal with this root starts with the unchanged lines of the earlier root."""

    proof: Literal["consistency"] = "consistency"
    session_id: str
    first_size: _Count
    first_root: Hash
    tree_size: _Count
    root: Hash
    path: list[Hash]

    def is_valid(self) -> bool:
        """Return whether the path leads from the earlier root to the root."""
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
    """Return the proof that event `sequence` is in a session's journal; SessionError when it has fewer events."""
    lines = _lines(folder, sequence)
    leaves = [leaf_hash(line) for line in lines]
    path = _hex(inclusion_proof(sequence - 1, leaves))
    return InclusionProof(
        session_id=folder.name,
        tree_size=len(lines),
        root=merkle_root(leaves).hex(),
        sequence=sequence,
        leaf=lines[sequence - 1].decode(),
        path=path,
    )


def prove_consistency(folder: Path, first_size: int) -> ConsistencyProof:
    """Return the proof that a session's first events are unchanged; SessionError when it has fewer events."""
    lines = _lines(folder, first_size)
    leaves = [leaf_hash(line) for line in lines]
    return ConsistencyProof(
        session_id=folder.name,
        first_size=first_size,
        first_root=merkle_root(leaves[:first_size]).hex(),
        tree_size=len(lines),
        root=merkle_root(leaves).hex(),
        path=_hex(consistency_proof(first_size, leaves)),
    )


def read_proof(path: Path) -> Proof:
    """Return the proof in a file; ConfigError when the file is not a proof."""
    try:
        record: Any = json.loads(read_bytes(path))
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
        raise SessionError(
            f"{folder.name}: there is no event {wanted}; the journal has {len(lines):,} events, counted from 1."
        )
    return lines


def _hex(hashes: Sequence[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


def _bytes(hashes: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in hashes]


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, 32 bytes; the root of an empty tree is the hash of no bytes."""
    if not leaves:
        return hashlib.sha256().digest()
    level = leaves
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the inclusion proof of the leaf at `index`, counted from 0, lowest sibling first (2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path: list[bytes] = []
    level = leaves
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level, index = _parents(level), index >> 1
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Return whether the path leads from the leaf hash at `index` to the root of a tree of `size` leaves (2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = _node(sibling, found)
            place, last = _skip_right_edge(place, last)
        else:
            found = _node(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistency_proof(first: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the consistency proof between the tree of the first `first` leaves, at least one, and all (2.1.4.1).

    The proof is empty when `first` is the number of leaves.
    """
    if not 0 < first <= len(leaves):
        raise IndexError(f"{first} of {len(leaves)} leaves")
    path: list[bytes] = []
    is_whole = True
    while first < len(leaves):
        middle = _split(len(leaves))
        if first <= middle:
            path.append(merkle_root(leaves[middle:]))
            leaves = leaves[:middle]
        else:
            path.append(merkle_root(leaves[:middle]))
            leaves, first, is_whole = leaves[middle:], first - middle, False
    return ([] if is_whole else [merkle_root(leaves)]) + path[::-1]


def verify_consistency(first: int, first_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether the path proves that the first `first` leaves of a tree have the root `first_root` (2.1.4.2)."""
    if first == size:
        return first > 0 and not path and first_root == root
    if not 0 < first < size:
        return False
    nodes = list(path) if first & (first - 1) else [first_root, *path]
    if not nodes:
        return False
    place, last = first - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    older = newer = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            older, newer = _node(node, older), _node(node, newer)
            place, last = _skip_right_edge(place, last)
        else:
            newer = _node(newer, node)
        place, last = place >> 1, last >> 1
    return last == 0 and older == first_root and newer == root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _parents(level: Sequence[bytes]) -> list[bytes]:
    pairs = [_node(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def _skip_right_edge(place: int, last: int) -> tuple[int, int]:
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last
