"""Programs that measure Watchkeep from outside, each printing the object of `bench.results`; see README.md."""
