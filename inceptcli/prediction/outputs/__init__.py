"""Write predictions: tables, JSON, Parquet, embeddings, heat maps, a gallery."""
