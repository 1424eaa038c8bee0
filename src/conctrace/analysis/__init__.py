"""What is wrong with a run: pure functions from a `Trace` to findings. The checks come with the findings."""
