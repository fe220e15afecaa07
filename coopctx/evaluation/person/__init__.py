"""A trained agent against a person: in a terminal, and as an HTML page that needs no server."""
