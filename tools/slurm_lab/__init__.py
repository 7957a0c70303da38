"""A whole Slurm on one machine, for tests and for trying at home: controller, accounting, nodes, REST.

Start reading at `lab.py`. What a lab may be is in `options.py`, the files it writes in `render.py` and `templates/`,
its daemons in `processes.py`. Nothing here knows Fabrique.
"""
