"""Functions that put what a run found into one sentence."""
