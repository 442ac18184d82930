"""WebDataset shards: find, fetch, index, read and make them. No torch."""
