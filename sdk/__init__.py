"""The only package an application installs; importing it opens nothing."""
