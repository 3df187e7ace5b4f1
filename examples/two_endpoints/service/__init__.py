"""The service that is guarded."""
