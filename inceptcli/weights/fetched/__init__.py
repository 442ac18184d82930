"""Weights that are downloaded: published ones and Hugging Face repositories."""
