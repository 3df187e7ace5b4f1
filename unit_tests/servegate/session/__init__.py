"""Tests of `servegate.session`."""
