"""Training: losses, supervision, and the one DeepSpeed loop under Ray Train that serves judges and re-rankers."""
