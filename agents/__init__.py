"""The node agent and the provisioner: one pure runner, two ports (driver, provider), a thin asyncio shell."""
