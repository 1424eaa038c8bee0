"""One recording session: in this process (recorder and patches), and its folder on disk."""
