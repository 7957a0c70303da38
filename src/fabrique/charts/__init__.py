"""Charts as SVG text: pure functions from numbers to pictures that print, need no script and are read aloud.

Every chart is drawn twice, wide and narrow; the page shows the one that fits. Colours are classes that the style sheet
sets for light and dark, and plain attributes for paper. Start with `chart.Chart`; each kind of chart is a file.
"""

from fabrique.charts.bands import Cell, band
from fabrique.charts.bars import Bar, Part, Share, shares, stacked
from fabrique.charts.burn import burn_down
from fabrique.charts.chart import Axis, Chart
from fabrique.charts.lines import Layer, Limit, Plot, Step, left_of, over_time

__all__ = [
    "Axis",
    "Bar",
    "Cell",
    "Chart",
    "Layer",
    "Limit",
    "Part",
    "Plot",
    "Share",
    "Step",
    "band",
    "burn_down",
    "left_of",
    "over_time",
    "shares",
    "stacked",
]
