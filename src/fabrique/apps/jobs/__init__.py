"""Jobs, runs, intents, the loop's lease. What an engine did is written here by `operate`."""
