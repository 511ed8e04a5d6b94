"""One repository an aggregate: synchronous, over one transaction's cursor, never committing."""
