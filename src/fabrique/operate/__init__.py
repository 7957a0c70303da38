"""The control loop: observe -> settle -> decide -> act. The only place that joins apps and engines.

No engine call inside a transaction; no act without an intent written before it. Start with `loop.Loop.cycle`.
"""
