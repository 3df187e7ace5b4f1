"""Tests of the README and of the pages in docs/: links, commands, blocks of code, and figures."""
