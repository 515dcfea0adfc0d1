"""Alerts and dashboard: by promtool, and before a real Prometheus that scrapes a real Darkroom."""
