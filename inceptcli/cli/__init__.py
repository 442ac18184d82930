"""The command line: one file per subcommand; nothing heavy is imported at module level."""
