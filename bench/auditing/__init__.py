"""The parts of `bench.audit`: plan, faults, journal, and the judges that read the topics afterwards."""
