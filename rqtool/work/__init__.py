"""Takes tasks, and settles each one."""
