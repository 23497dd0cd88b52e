"""What a returned node, a zombie agent or a slow old copy comes to: the parts of `bench.zombies`."""
