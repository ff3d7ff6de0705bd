"""Sends tasks."""
