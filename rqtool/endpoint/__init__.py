"""Where the broker is: URLs, TLS, and their order of precedence."""
