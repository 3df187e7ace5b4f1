"""Tests of `servegate.report`."""
