"""Market data: the Parquet store, imports, downloads, quality reports, resampling and sample bars."""
