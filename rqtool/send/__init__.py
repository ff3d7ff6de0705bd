"""Handing out tasks."""
