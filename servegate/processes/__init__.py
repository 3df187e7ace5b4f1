"""Start, wait for and stop the processes that are measured, and leave none behind."""
