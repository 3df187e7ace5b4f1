"""Tests of `servegate.measure.http`."""
