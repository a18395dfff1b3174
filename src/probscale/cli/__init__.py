"""Command line over the public API."""

from probscale.cli.app import app, main

__all__ = ["app", "main"]
