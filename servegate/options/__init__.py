"""The options, the settings that a run reads of them, and what a command line must not ask for."""
