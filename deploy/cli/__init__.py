"""What stands behind the `cox` command. Standard library only: it runs before anything is installed."""
