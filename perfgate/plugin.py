"""pytest hooks of perfgate; composes the other modules."""
