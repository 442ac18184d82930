"""Remote files: addresses (`https://`, `s3://`, `gs://`, `hf://`), transports, local copies."""
