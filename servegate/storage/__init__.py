"""What outlives a run: commits in folders of their own, baselines, history."""
