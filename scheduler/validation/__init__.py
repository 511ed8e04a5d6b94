"""What people may write: field types, hosts as they are asked for, and faults told all at once.

The HTTP interface and the configuration file share these rules, so that neither accepts what the
other refuses.
"""
