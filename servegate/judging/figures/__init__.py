"""Functions that judge what throughput doesn't show: slow requests, cost, memory and start."""
