"""From what changed in a guest to code: manifests, their difference, what that means to tools."""
