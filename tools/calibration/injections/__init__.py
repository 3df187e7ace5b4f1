"""Slowdowns and faults of known size that are put into a copy of the service."""
