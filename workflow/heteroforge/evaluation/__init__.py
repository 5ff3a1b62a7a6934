"""Metrics of generation, reconstruction and screening."""
