"""Checks and measures the service on a machine with a GPU, in ten minutes: `make gpu-check`."""
