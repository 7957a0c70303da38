"""Records of who did what, on which ground, and of each sovereignty decision. Append-only."""
