"""`servegate init` writes what a project needs before its first run, and `servegate doctor` tries it."""
