"""What the nodes of a cluster run with: versions of a text for each node type, what may be in it, how nodes get it."""
