"""Organisations, persons, their roles, and the one table of rights. No sibling is known here."""
