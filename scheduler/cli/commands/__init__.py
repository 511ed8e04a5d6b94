"""What a user can type, a file per noun."""
