"""How fast rqtool is, beside what else there is: `make bench`, or `python -m bench SECTION...` for parts of it."""
