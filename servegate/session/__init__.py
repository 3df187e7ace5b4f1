"""One run: what it decides, and what it leaves."""
