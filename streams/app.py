"""The module-level app that `faust -A streams.app worker` finds; nothing else lives here."""

from streams.settings import load_settings
from streams.worker import create_app

app = create_app(load_settings())
