"""What Prometheus and Grafana read: alerts.yaml, and dashboard.json, which `dashboard` writes."""
