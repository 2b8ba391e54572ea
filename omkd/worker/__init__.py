"""omk-worker: one process a worker, runs the agent's command for each task."""
