"""Trees, proofs and hashes: the program's and the single-file verifier's are two implementations of one format."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fabrique.core import ledger
from fabrique.core.units import Unit
from fabrique.verifier import fabrique_verify as verifier

HASHES = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=70)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
POSTINGS = st.builds(ledger.Posting, TEXTS, TEXTS.map(Unit), NUMBERS, NUMBERS, NUMBERS, TEXTS, TEXTS, TEXTS)
HEADERS = st.builds(ledger.Header, NUMBERS, NUMBERS, TEXTS, TEXTS, TEXTS, NUMBERS, TEXTS)


def cells(posting: ledger.Posting) -> list[object]:
    p = posting
    return [p.account, p.unit, p.value, p.n, p.balance, p.what, p.ref, p.detail]


@given(POSTINGS)
def test_both_hash_a_posting_alike(posting: ledger.Posting) -> None:
    assert verifier.leaf_hash(cells(posting)) == ledger.leaf_hash(posting)


@given(POSTINGS, POSTINGS)
def test_two_postings_have_two_hashes(one: ledger.Posting, other: ledger.Posting) -> None:
    assert (ledger.leaf_hash(one) == ledger.leaf_hash(other)) == (one == other)


@given(HEADERS)
def test_both_hash_a_header_alike(header: ledger.Header) -> None:
    fields: dict[str, Any] = {name: getattr(header, name) for name in verifier.HEADER}
    assert verifier.header_hash(fields) == ledger.entry_hash(header)


@given(HASHES)
def test_both_build_the_same_root(leaves: list[str]) -> None:
    assert verifier.tree_root(list(leaves)) == ledger.merkle_root(leaves)


@given(HASHES, st.data())
def test_a_proof_leads_from_its_leaf_to_the_root_and_has_the_shape_its_place_gives(
    leaves: list[str], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = ledger.merkle_proof(leaves, index)
    assert ledger.proof_root(leaves[index], proof) == ledger.merkle_root(leaves)
    assert [side for side, _ in proof] == verifier.sides(index, len(leaves))


@given(HASHES, st.data())
def test_another_leaf_or_another_sibling_leads_elsewhere(leaves: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    foreign = data.draw(st.binary(min_size=32, max_size=32).map(bytes.hex).filter(lambda h: h != leaves[index]))
    proof = ledger.merkle_proof(leaves, index)
    assert ledger.proof_root(foreign, proof) != ledger.merkle_root(leaves)


@given(HASHES)
def test_no_leaf_counts_twice(leaves: list[str]) -> None:
    """Trees that double an odd leaf have one root for two lists; these have two."""
    assert ledger.merkle_root([*leaves, leaves[-1]]) != ledger.merkle_root(leaves)


@given(HASHES.filter(lambda leaves: len(set(leaves)) == len(leaves) > 1), st.data())
def test_order_counts(leaves: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(leaves))
    assert (ledger.merkle_root(shuffled) == ledger.merkle_root(leaves)) == (list(shuffled) == leaves)


@given(HASHES)
def test_the_statement_keeps_the_same_tree_as_the_ledger(leaves: list[str]) -> None:
    from fabrique.apps.reports import tree

    levels = tree.levels(leaves)
    assert levels[-1] == [ledger.merkle_root(leaves)]
    for index in range(len(leaves)):
        assert [tuple(step) for step in tree.proof(levels, index)] == ledger.merkle_proof(leaves, index)
