"""The use cases: decide by the pure rules and commit the intent; never touch a host.

What a commit asks of the outside world is done by loops, which are told by the `wake` callables
the daemon hands in.
"""
