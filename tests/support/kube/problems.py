"""What can go wrong with a cluster, in words for the person who typed the command."""


class ClusterError(Exception):
    """The cluster cannot do what was asked. The text says why and what helps."""
