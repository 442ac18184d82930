"""Key tables: other people's tensor names and ours."""
