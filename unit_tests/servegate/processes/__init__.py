"""Tests of `servegate.processes`."""
