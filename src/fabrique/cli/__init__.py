"""The command `fabrique`: one file per group of commands, each a thin face over definitions, services and `operate`.

No decision is taken and no table is written here. Start with `main`; `shared` gives every command its common options,
`context` opens the home, `output` writes tables, sentences and JSON. Heavy imports stand inside the commands.
"""
