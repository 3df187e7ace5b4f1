"""From an HTTP request to a decoded image."""
