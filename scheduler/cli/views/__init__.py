"""How the API's documents are drawn for people, a file per noun."""
