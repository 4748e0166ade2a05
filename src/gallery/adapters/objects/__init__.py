"""The object store: local files, or S3, GCS and Azure."""
