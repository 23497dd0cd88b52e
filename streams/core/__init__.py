"""The worker's core thread: log reader, watcher, ticker and planner in an event loop of their own.

It starts before Faust joins its group, so a RocksDB scan, a recovery or a commit error in Faust is no gap in time.
"""
