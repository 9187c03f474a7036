"""The tree follows RFC 9162, and a proof is valid only for the leaves from which it was made."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.journal.proofs import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)

# The test vectors of Certificate Transparency's reference implementation.
REFERENCE = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
trees = st.lists(st.binary(max_size=4), min_size=1, max_size=40).map(lambda parts: [leaf_hash(part) for part in parts])


def mth(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], is_whole: bool) -> list[bytes]:
    """RFC 9162, 2.1.4.1, word for word."""
    if m == len(leaves):
        return [] if is_whole else [mth(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], is_whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    assert merkle_root([leaf_hash(leaf) for leaf in REFERENCE[:size]]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_paths_are_the_published_ones(index, size):
    leaves = [leaf_hash(leaf) for leaf in REFERENCE[:size]]
    assert [node.hex() for node in inclusion_proof(index, leaves)] == INCLUSION[index, size]


@pytest.mark.parametrize(("first", "size"), CONSISTENCY)
def test_consistency_paths_are_the_published_ones(first, size):
    leaves = [leaf_hash(leaf) for leaf in REFERENCE[:size]]
    assert [node.hex() for node in consistency_proof(first, leaves)] == CONSISTENCY[first, size]


@given(trees, st.data())
def test_the_tree_is_the_recursive_definition(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    assert merkle_root(leaves) == mth(leaves)
    assert inclusion_proof(index, leaves) == path(index, leaves)
    assert consistency_proof(index + 1, leaves) == subproof(index + 1, leaves, True)


@given(st.integers(1, 40), st.data())
def test_an_inclusion_proof_holds_for_its_leaf_place_size_and_root_alone(size, data):
    leaves = [leaf_hash(b"%d" % n) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, leaves), merkle_root(leaves)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(-1, size + 1).filter(lambda n: n != index))
    assert not verify_inclusion(leaves[index], other, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"else"), index, size, proof, root)
    assert not verify_inclusion(leaves[index], index, size, [*proof, root], root)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf_hash(b"root"))
    if proof:
        assert not verify_inclusion(leaves[index], index, size, proof[:-1], root)
        changed = data.draw(st.integers(0, len(proof) - 1))
        assert not verify_inclusion(
            leaves[index], index, size, [*proof[:changed], leaf_hash(b""), *proof[changed + 1 :]], root
        )


@given(st.integers(1, 40), st.data())
def test_a_consistency_proof_holds_for_its_two_roots_alone(size, data):
    leaves = [leaf_hash(b"%d" % n) for n in range(size)]
    first = data.draw(st.integers(1, size))
    proof, old, new = consistency_proof(first, leaves), merkle_root(leaves[:first]), merkle_root(leaves)
    assert verify_consistency(first, old, size, new, proof)
    rewritten = [leaf_hash(b"else"), *leaves[1:]]
    assert not verify_consistency(first, old, size, merkle_root(rewritten), consistency_proof(first, rewritten))
    assert not verify_consistency(first, leaf_hash(b"old"), size, new, proof)
    assert not verify_consistency(first, old, size, new, [*proof, old])
    assert not verify_consistency(0, old, size, new, proof)
    assert not verify_consistency(size + 1, old, size, new, proof)
    if proof:
        assert not verify_consistency(first, old, size, new, proof[:-1])


def test_a_leaf_that_is_not_there_has_no_path():
    leaves = [leaf_hash(b"")]
    for index in (-1, 1):
        with pytest.raises(IndexError):
            inclusion_proof(index, leaves)
    for first in (0, 2):
        with pytest.raises(IndexError):
            consistency_proof(first, leaves)
