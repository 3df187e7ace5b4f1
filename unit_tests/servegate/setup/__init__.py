"""Tests of `servegate init` and `servegate doctor`."""
