"""What is wrong with a request, for whoever asked. Pure; part of `tables.admit`."""


class RefusalError(ValueError):
    """A request that cannot be carried out; the text is for the asker."""
