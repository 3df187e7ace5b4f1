"""One run: its options and settings, what it decides, and what it leaves."""
