"""Why there is no model."""


class WeightsError(Exception):
    """The model or its weights can't be loaded; the message says why and what to change."""
