"""Identifies the measured processes, the GPUs and the machine, and measures their use."""
