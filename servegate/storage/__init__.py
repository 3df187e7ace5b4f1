"""Storage: folders with the files of commits, baselines, and the history of runs."""
