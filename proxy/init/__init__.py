"""`backstay init`: make a first configuration, also from an OpenAPI document or from an audit trail. Writes no file."""
