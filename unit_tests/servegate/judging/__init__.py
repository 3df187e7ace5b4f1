"""Tests of `servegate.judging`."""
