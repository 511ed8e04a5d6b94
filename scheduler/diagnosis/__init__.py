"""What is wrong with a host or with the control node, and the command that mends it: pure rules."""
