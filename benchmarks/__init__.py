"""What docs/performance.md reports, printed by one command each."""
