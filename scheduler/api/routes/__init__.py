"""The routes, a file per noun; each noun is a class whose table says which method serves what."""
