"""Measure cells: process by process, or two checkouts side by side."""
