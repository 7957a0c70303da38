"""The Django project: settings, addresses, layout, pages, API. The one place that reads the environment.

Start with `settings`, then `urls`.
"""
