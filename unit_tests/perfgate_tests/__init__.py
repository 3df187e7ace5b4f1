"""Unit tests of perfgate, one file a module. None needs a GPU, a model or the network."""
