"""What `bench.fleet` is made of: who there is, what happens to them, who beats, who watches, who judges."""
