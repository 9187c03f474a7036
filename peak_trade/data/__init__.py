"""Market data: the Parquet store, import, fetch, quality report, resampling, generated samples."""
