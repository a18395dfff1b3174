"""Replay of decisions on finished logs."""
