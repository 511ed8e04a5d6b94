"""sandboxctl: the command line over the admin socket.

It speaks the public HTTP API and imports nothing else of this project, so that it starts fast and
proves that the API is enough to do everything.
"""
