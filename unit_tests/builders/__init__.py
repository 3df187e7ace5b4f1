"""What tests of several wings build their cases from."""
