"""What all unit tests have in common: no settings from outside."""

import os
from collections.abc import Iterator

import pytest

from service.settings import ENV_PREFIX


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """Tests see the default settings, whatever the developer's shell has set."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
            monkeypatch.delenv(name)
        yield
