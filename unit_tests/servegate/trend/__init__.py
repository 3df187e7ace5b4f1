"""Tests of `servegate.trend`."""
