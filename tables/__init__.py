"""The pure core: rows, fold, log clock, watcher and planner.

No clock, chance, socket, thread or Faust in here. `fold` is the only way to compute state; it runs live, in
recovery, in replay and in tests. docs/architecture.md draws the picture.
"""
