"""A local web page and an HTTP API for trained networks."""
