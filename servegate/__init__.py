"""The instrument and the judge: measures a service from pytest and says whether it became slower.

`servegate.api` is the public interface.

PYTEST_DONT_REWRITE: `pytest-benchmark compare` imports a project's conftest.py, and with it this package, before pytest
looks for plugins. Without this word pytest then warns, which ends the command where warnings are errors.
"""

__version__ = "0.2.0"
