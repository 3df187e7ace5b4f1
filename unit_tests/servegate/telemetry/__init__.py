"""Tests of `servegate.telemetry`."""
