"""A comparison as a page that needs nothing else: charts with their tables, no script, no request.

`pictures` draws, `page` puts the pictures and the figures into one file. Start with `page.page`.
"""

from fabrique.twin.report.page import page

__all__ = ["page"]
