"""Tests of `servegate.judging.absolute`."""
