"""The cluster management daemon: who is in the cluster, what they run with, and which replicas serve."""
