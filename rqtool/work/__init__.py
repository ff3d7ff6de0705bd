"""Taking tasks, and settling each one."""
