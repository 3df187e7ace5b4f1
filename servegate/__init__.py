"""The instrument and the judge: measures a service from pytest and says whether it became slower.

PYTEST_DONT_REWRITE: `pytest-benchmark compare` imports a project's conftest.py, and with it this package, before pytest
looks for plugins. Without this word pytest then warns, which ends the command where warnings are errors.
"""
