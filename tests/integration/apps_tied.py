"""A managed app that works until it is told to end, and has a last word."""

from sdk import App

with App() as app:
    app.notify(f"generation {app.generation} is here", key="hello")
    try:
        while app.sleep(3600):
            pass
    finally:
        app.notify("that was all", key="goodbye")
