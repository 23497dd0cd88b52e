"""Programs that measure Watchkeep from outside, each printing the object of `bench.report`; see README.md."""
