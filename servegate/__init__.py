"""The instrument and the judge: measures a service from pytest and says whether it became slower.

`servegate.api` is the public interface.
"""

__version__ = "0.1.0"
