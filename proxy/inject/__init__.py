"""`backstay inject` and `uninject`: transform manifests as text. Nothing here opens a file."""
