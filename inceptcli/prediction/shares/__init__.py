"""One share of a large prediction (`--shard I/N`): its part, its record, merging."""
