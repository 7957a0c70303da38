"""Power and energy of the site over time, each window with its provenance."""
