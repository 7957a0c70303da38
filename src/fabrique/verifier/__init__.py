"""The verifier in one file, for people who do not have (or do not trust) this program.

`fabrique_verify.py` imports nothing of `fabrique`, and nothing of `fabrique` imports it: it is an implementation of
docs/ledger.md by itself. The portal offers the file for download as it stands.
"""
