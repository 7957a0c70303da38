"""The twin: the production decision replayed over a trace, with a clock of its own and no database.

Here: traces and how they are read, the workload generator, fleets made of a hub's definition, replays, comparisons,
and the bound that no schedule beats. Not here: any rule of the decision, which is `core.admission`'s. Start with
`trace` (what a job is to the twin), then `run`.
"""
