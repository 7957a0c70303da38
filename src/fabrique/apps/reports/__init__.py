"""Statements: every number traced to postings, in HTML, PDF and JSON."""
