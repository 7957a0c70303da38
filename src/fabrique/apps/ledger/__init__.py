"""The double-entry ledger: the tables, the single writer, checkpoints, verification."""
