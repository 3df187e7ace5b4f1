"""Tests of `servegate.measure`."""
