"""The files that Slurm wants of a hub, and the small ones that pass between them while it runs.

`render.py` makes those of `fabrique slurm install` from `templates/`, `install.py` puts them down and checks them.
`door.py` writes what `job_submit.lua` reads at each submission, `levels.py` what a node's prolog reads before a job.
"""
