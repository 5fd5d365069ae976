"""`backstay inject` and `uninject`: documents in, documents out; nothing here opens a file."""
