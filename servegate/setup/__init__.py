"""What a project needs before its first run: `servegate init` writes it, `servegate doctor` tries it."""
