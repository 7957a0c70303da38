"""Many proofs from one tree: `core.ledger` builds it anew for each, an entry of thousands of postings should not."""

from __future__ import annotations

from collections.abc import Sequence

from fabrique.core.ledger import node_hash


def levels(leaves: Sequence[str]) -> list[Sequence[str]]:
    """The tree of `core.ledger.merkle_root`, level by level: the leaves first, the root alone at the end."""
    found: list[Sequence[str]] = [leaves]
    while len(found[-1]) > 1:
        low = found[-1]
        found.append([node_hash(*low[i : i + 2]) if i + 1 < len(low) else low[i] for i in range(0, len(low), 2)])
    return found


def proof(built: Sequence[Sequence[str]], index: int) -> list[list[str]]:
    """[side, sibling] from leaf `index` up, as `core.ledger.merkle_proof` answers."""
    steps = []
    for level in built[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            steps.append(["left" if sibling < index else "right", level[sibling]])
        index //= 2
    return steps
