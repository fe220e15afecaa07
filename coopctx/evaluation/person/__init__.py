"""A trained agent against a person: in a terminal, and as a page of its own that needs no server."""
