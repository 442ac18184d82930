"""The command line: one file per subcommand; imports nothing heavy at module level."""
