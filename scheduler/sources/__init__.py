"""Source VMs, pure: which commands may look at one, and how far its preparation has come."""
