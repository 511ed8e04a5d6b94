"""Real servers for tests, benchmarks and demonstrations: libvirt hosts, PostgreSQL, a guest image.

Nothing here outlives its owner, not even an owner that is killed; `cleanup` tells how.
"""
