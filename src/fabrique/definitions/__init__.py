"""Our YAML read into core objects, every complaint with its file and line.

Start with `yaml` (hostile-safe reading) and `hubs`. Nothing here decides, and nothing here knows a process,
a sensor, a table or a page.
"""
