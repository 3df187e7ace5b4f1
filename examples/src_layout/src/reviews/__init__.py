"""A service that counts and picks the words of reviews."""
