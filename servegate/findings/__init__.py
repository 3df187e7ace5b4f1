"""What a run found, in one sentence."""
