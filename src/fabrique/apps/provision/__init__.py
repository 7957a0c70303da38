"""The names that the hub gave on a Slurm cluster, and what it last applied there. `operate` joins it with Slurm."""
