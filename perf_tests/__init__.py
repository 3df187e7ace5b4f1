"""Performance tests: the only place where the service and the instrument meet."""
