"""Change sets into repositories: git by plumbing, and the forges' pull and merge requests."""
