"""Where the broker is: URLs, TLS, and who is asked first."""
