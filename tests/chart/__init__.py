"""The chart: rendered by a real Helm, held against schemas, and its roles run as their pods would."""
