"""Tests of `servegate.judging.figures`."""
