"""The grid around a site: carbon intensity and prices over time, what was and what is expected kept apart.

Here: series, our file format for them, and who provides them. Not here: the yearly averages of zones (definitions hand
them over as factors), what is decided with a forecast (`fabrique.core`). Nothing here opens a connection.
Start with `series.py`, then `providers.py`.
"""

from fabrique.grid.files import Complaint, read
from fabrique.grid.providers import FileProvider, Forecast, Provider, YearlyAverage
from fabrique.grid.series import Series, Step, series

__all__ = ["Complaint", "FileProvider", "Forecast", "Provider", "Series", "Step", "YearlyAverage", "read", "series"]
