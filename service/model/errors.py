"""Errors of a model that can't be loaded, or can't run as the settings ask."""


class ModelError(Exception):
    """The model can't run as the settings ask; the message says why and what to change."""


class WeightsError(ModelError):
    """The model or its weights can't be loaded."""


class EngineError(ModelError):
    """The engine that the settings name can't run the model."""


class DeviceError(ModelError):
    """Torch can't use the device."""
