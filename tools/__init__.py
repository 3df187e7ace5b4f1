"""Programs for people: comparisons, profiles, pictures, stress, and the calibration of the gate."""
