"""The reports for people and programs: terminal, Markdown, HTML, JSON."""
