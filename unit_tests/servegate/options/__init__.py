"""Tests of `servegate.options`."""
