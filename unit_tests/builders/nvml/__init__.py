"""NVML without a GPU."""
