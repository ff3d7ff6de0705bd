"""What runs in a runner process: commands and functions, and where what they write goes."""
