"""Cells, groups, pairs and documents of runs that were never measured."""
