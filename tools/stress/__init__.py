"""Programs that try to break the service and the suite: soak, overload, kills, fuzzing."""
