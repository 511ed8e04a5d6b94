"""The loops: each compares what is recorded with what is there and takes the next step."""
