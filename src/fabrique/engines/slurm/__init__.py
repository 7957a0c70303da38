"""Slurm as an engine: its commands and its REST daemon behind one transport, its words read into ours.

Here live Slurm's words, formats and exit codes; no database, no decision. Start with `model`: what every other module
here gives or takes. Nothing of Slurm's own vocabulary leaves this package but through `model`.
"""
