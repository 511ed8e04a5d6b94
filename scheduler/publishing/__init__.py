"""The way to repositories: git by plumbing, and the forges that take requests to merge."""
