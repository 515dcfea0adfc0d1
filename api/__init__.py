"""HTTP: one router per noun. It accepts and answers; it never calls out, and never talks to Celery."""
