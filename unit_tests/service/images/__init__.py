"""Tests of `service.images`, by what people's files are like; the reader's own tests are in test_images.py."""
