"""What is true without a computer, or chooses between possibilities.

Pure: the standard library and NumPy arrays only. No I/O, clock, randomness, logging or environment.
Start with `units`, then `ledger`, `job` and `admission`.
"""
