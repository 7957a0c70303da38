"""What is said to people, in fr, fr-CA and English: sentences, quantities, dates, and the catalogues behind them.

No page and no table lives here. Start with `say.Speaker`; the sentences of reasons and errors are in `reasons` and
`errors`, words of closed lists in `words`, the catalogues under `locale/` are read by `catalogue`.
"""

from fabrique.language.marks import msg
from fabrique.language.say import Speaker

__all__ = ["Speaker", "msg"]
