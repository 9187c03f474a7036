"""The Merkle tree of RFC 9162, section 2.1: SHA-256, leaves prefixed with 0x00 and nodes with 0x01.

A tree of n > 1 leaves splits at the largest power of two below n. Everything here takes leaf hashes, see `leaf_hash`.

References
----------
RFC 9162, Certificate Transparency Version 2.0, sections 2.1.1 (tree), 2.1.3 (inclusion) and 2.1.4 (consistency).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, 32 bytes; of an empty tree the hash of nothing."""
    if not leaves:
        return hashlib.sha256().digest()
    level = leaves
    while len(level) > 1:
        level = _above(level)
    return level[0]


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the audit path of the leaf at `index`, counted from 0, lowest sibling first (2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path: list[bytes] = []
    level = leaves
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level, index = _above(level), index >> 1
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
    """Return what proves that the tree over the first `first` leaves, at least one, became the one over all (2.1.4.1).

    Empty when `first` is all of them.
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
    """Return whether the path proves that a tree of `first` leaves with its root became this one (2.1.4.2)."""
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


def _above(level: Sequence[bytes]) -> list[bytes]:
    pairs = [_node(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def _skip_right_edge(place: int, last: int) -> tuple[int, int]:
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last
