"""One Django app a desk. `services.py` owns the transactions; views and loops never write a table themselves.

`people`, `audit` and `ledger` know no sibling; `access` stands on them, `jobs` on `access`; `energy`,
`catalogue` and `reports` beside and on top. Start with `ledger/services.py`.
"""
