"""Fabrique: the software that runs a sovereign AI compute hub.

Floors point one way: core <- definitions, engines, meters, grid, language <- apps <- operate <- portal, cli.
Start reading in `fabrique.core`, then `fabrique.operate`.
"""

__version__ = "0.1.0"
