"""A local web page, and an interface over HTTP, for trained networks."""
