"""The demo: the documentation's first example, run from end to end, with a receiver for its webhook.

Promises: it does what a customer would do, through the public API alone.
"""

from deploy.local.demo.main_job import Demo, command, example, price_warning

__all__ = ["Demo", "command", "example", "price_warning"]
