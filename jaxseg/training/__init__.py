"""Training: the loop, its step and state, the optimiser, the run's logs."""
