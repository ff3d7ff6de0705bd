"""The management API: HTTP, and what its rows say."""
