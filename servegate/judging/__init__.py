"""Pure functions and records: estimates, rules and what they decide. No pytest, no processes, no files."""
