"""`python -m fabrique.cli` is `fabrique`."""

from __future__ import annotations

from fabrique.cli.main import main

if __name__ == "__main__":
    main()
