"""What `bench.report` writes."""
