"""Services that answer over HTTP: how they start, and how they are measured alone and side by side."""
