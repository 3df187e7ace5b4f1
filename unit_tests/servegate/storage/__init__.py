"""Tests of `servegate.storage`."""
