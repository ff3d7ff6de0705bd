"""The code of a runner process: it runs commands and functions, and passes on their output."""
