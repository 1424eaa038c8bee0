"""The Chrome trace format (JSON), for Perfetto, ``conctrace view`` and chrome://tracing: see `export`."""
