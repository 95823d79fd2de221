"""The web console: static files that talk to the API, the door by which people come in, and nothing else."""
