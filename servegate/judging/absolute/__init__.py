"""Rules that compare with nothing: is a measurement valid, does the service slow down, do its answers keep a limit."""
