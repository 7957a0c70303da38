"""The JSON API, `/api/v1/`: the same rights, services and words as the pages. Start with `root`."""
