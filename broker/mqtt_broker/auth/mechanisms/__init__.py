"""One way of authenticating per file. A mechanism accepts, refuses, or says that the client is not its to judge."""
