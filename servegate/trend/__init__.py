"""Changes that last, over the results of many runs: `servegate trend`."""
