"""Traces of turns by OpenTelemetry: `spans.py` is what the code calls, `export.py` is loaded where traces are on."""
