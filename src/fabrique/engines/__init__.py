"""Where jobs run: one protocol, and the engines that keep it.

Here live processes, signals, exit codes and (later) Slurm's words; no database, no web, no decision.
Start with `protocol`, then `local`; `shim` and `keeper` are what runs beside a job.

This file imports nothing: the shim starts many times an hour and pays for every module.
"""
