"""Tests of `servegate.load`."""
