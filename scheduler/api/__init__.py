"""The HTTP interface: parse, say who asks, call a service, answer. Nothing is decided here."""
