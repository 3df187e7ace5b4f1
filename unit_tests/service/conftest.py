"""Fixtures of the service's unit tests: the model is loaded once a process."""

import numpy as np
import pytest
import torch

from service.images import ImageReader, Pixels
from service.model.classifier import Classifier
from service.model.weights import LoadedModel, load_model
from service.settings import load_settings
from tools.stress.image_files import cat_png
from unit_tests.builders.classifiers import eager_classifier


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch computes in one thread: test processes run side by side, and threads that wait for a core spin."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    """The default model with its embedded weights."""
    return load_model(load_settings([], "unit_tests"))


@pytest.fixture
def classifier(embedded: LoadedModel) -> Classifier:
    """The default model on the CPU in float32, as torch runs it."""
    return eager_classifier(embedded)


@pytest.fixture(scope="session")
def cat_batch() -> Pixels:
    """The cat's photo as a batch of one."""
    return np.stack([ImageReader().read(cat_png())])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutines of tests and fixtures run on asyncio, as the server does."""
    return "asyncio"
