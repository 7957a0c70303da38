"""Readers of traces, one file a format. Each gives a `twin.trace.Trace`, or one clear message with file and line."""
