"""Rules of a sandbox's life: pure functions of records, observations and the time."""
