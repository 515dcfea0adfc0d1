"""`make batches`: what ten thousand rows cost whoever sends them, and everybody else."""
