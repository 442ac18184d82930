"""WebDataset tar files: find, fetch, index, read, write. No torch."""
