"""After a restore from a backup: `python -m worker.restore` books what was paid since."""
