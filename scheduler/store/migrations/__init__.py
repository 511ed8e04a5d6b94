"""Alembic's revisions, in the package so that an installed daemon can migrate by itself."""
