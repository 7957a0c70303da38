"""Datasets: their class and origin, and the decisions taken when they are bound."""
