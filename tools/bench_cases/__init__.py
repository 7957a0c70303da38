"""The cases of `make bench`: each yields figures, measured here and now. `tools/bench.py` prints them.

What lives here: what is measured, and on which jobs. What must not: limits that a test enforces. Start with `figure`.
"""
