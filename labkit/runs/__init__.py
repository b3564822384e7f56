"""What survives a kill: runs, their folders, their cost, where they came from, ticket files."""
